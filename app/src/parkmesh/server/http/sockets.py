"""Listening sockets of the server's two applications."""

import socket

# Not all Pythons name them: numbers of linux/in.h and linux/in6.h.
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78


def listen(host: str, port: int, *, before_up: bool = False) -> socket.socket:
    """Bind and return a TCP socket; port 0 takes a free one.

    ``before_up`` allows an address that no interface has yet: the overlay's comes up after the server. Raises
    ``OSError`` with a message that names the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio sends small answers at once (TCP_NODELAY) only where it reads that this is TCP; else the
    # second part of an answer waits 40 ms for the other side's delayed acknowledgement of the first.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if before_up and family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        elif before_up:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    return sock
