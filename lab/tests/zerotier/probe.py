"""Run inside a network namespace: ask whether packets get through. Prints `yes` or `no` (or what it was told to count).

`ping IP SECONDS`, `tcp IP PORT SECONDS` (a whole exchange), `serve PORT...`, `udp IP PORT COUNT`, `flood IP SECONDS`.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import sys
import threading
import time


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping_once(raw: socket.socket, host: str, number: int) -> None:
    content = struct.pack("!HH", number, number) + b"parkmesh"
    body = struct.pack("!BBH", 8, 0, checksum(struct.pack("!BBH", 8, 0, 0) + content)) + content
    raw.sendto(body, (host, 0))


def ping(host: str, seconds: float) -> bool:
    """Send echo requests until one is answered or the time is over."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.setblocking(False)
    number, end = random.randrange(1, 65536), time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            ping_once(raw, host, number)
        except OSError:
            return False  # no route
        ready, _, _ = select.select([raw], [], [], 0.1)
        while ready:
            packet, source = raw.recvfrom(2048)
            if source[0] == host and packet[20] == 0 and packet[24:26] == number.to_bytes(2, "big"):
                return True
            ready, _, _ = select.select([raw], [], [], 0)
    return False


def tcp(host: str, port: int, seconds: float) -> bool:
    """True when a connection is made and its data comes back."""
    data = random.randbytes(20000)
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            back = b"".join(iter(lambda: connection.recv(65536), b""))
            return back == data
    except OSError:
        return False


def echo(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


def serve(ports: list[int]) -> None:
    """Echo what comes in on each port until killed."""
    for port in ports:
        listener = socket.create_server(("", port))
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def last_answer(host: str, seconds: float) -> float:
    """Ping every 5 ms for a time; the unix time of the last answer, 0 for none."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.setblocking(False)
    number, end, last = random.randrange(1, 65536), time.monotonic() + seconds, 0.0
    print("ready", flush=True)
    while time.monotonic() < end:
        ping_once(raw, host, number)
        ready, _, _ = select.select([raw], [], [], 0.005)
        while ready:
            packet, source = raw.recvfrom(2048)
            if source[0] == host and packet[20] == 0:
                last = time.time()
            ready, _, _ = select.select([raw], [], [], 0)
    return last


def garbage(host: str, port: int, count: int) -> None:
    """Random datagrams of all sizes, some with a right first byte."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(count):
        size = random.choice((0, 1, 20, 21, 36, 37, 100, 1400, 9000, 60000))
        data = random.randbytes(size)
        if number % 2 and size:
            data = b"\xd2\x00" + bytes([random.randrange(5)]) + data[3:]
        udp.sendto(data, (host, port))


def main() -> None:
    command, *rest = sys.argv[1:]
    if command == "ping":
        print("yes" if ping(rest[0], float(rest[1])) else "no")
    elif command == "tcp":
        print("yes" if tcp(rest[0], int(rest[1]), float(rest[2])) else "no")
    elif command == "serve":
        serve([int(port) for port in rest])
    elif command == "last-answer":
        print(last_answer(rest[0], float(rest[1])))
    elif command == "garbage":
        garbage(rest[0], int(rest[1]), int(rest[2]))


if __name__ == "__main__":
    main()
