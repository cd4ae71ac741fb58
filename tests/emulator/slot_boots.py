"""Boot servers that lease overlay slots, kill them at any moment, end them: two must never use one slot.

Each server is a process of its own that runs the code of an app server (parkmesh.instance.slots) against the DynamoDB
and EC2 of lab.aws, of whose calls a share fails. There are more servers than slots, so most slots are taken over from
one that is terminated. A server that has a slot locks a file of its number until it dies or has stopped using it, so
the kernel tells whether two had one. The seed chooses what happens; the processes' own pace isn't chosen.

    python -m tests.emulator.slot_boots --boots 200 --seed 1
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import boto3
from parkmesh.instance.slots import Place, SlotError, SlotTable, lease

from lab.aws import BASE_IMAGE_ID, faults

from .conftest import REGION, ROOT

TABLE = "parkmesh-drill-slots"
SLOTS, SERVERS = 6, 8
FAILED_SHARE = 0.1
HASTE = 8
"""Pauses of a lease are so much shorter than on a server."""
PATIENCE_S = 120.0
OPERATOR = "operator"
_fork = multiprocessing.get_context("fork")


def client(url: str, service: str, key: str) -> Any:
    keys = {"aws_access_key_id": key, "aws_secret_access_key": "secret"}
    return boto3.session.Session().client(service, endpoint_url=url, region_name=REGION, **keys)


def boot(table: SlotTable, me: str, locks: Path, parent: Connection) -> None:
    """What one server does: lease a slot and say which, use it until it is told to end, then release it."""
    try:
        held = lease(table, me, Place("10.80.80.7", "eu-west-1a"), sleep=lambda pause: time.sleep(pause / HASTE))
    except SlotError as error:
        parent.send(str(error))
        return
    with (locks / str(held.number)).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parent.send(f"slot {held.number} is used by another server too")
            return
        parent.send(held.number)
        parent.recv()
    table.release(me)
    parent.send("released")


@dataclass
class Server:
    """An instance and its process; ``slot`` once it has said which it uses."""

    id: str
    process: BaseProcess
    told: Connection
    slot: int | None = None


class Drill:
    def __init__(self, url: str, locks: Path, seed: int) -> None:
        self.url, self.locks, self.chance = url, locks, random.Random(seed)
        # Made once, as that takes half a second, and never used here: each process has the connections that it opens.
        dynamodb, ec2 = client(url, "dynamodb", "server"), client(url, "ec2", "server")
        self.of_servers = SlotTable(TABLE, dynamodb, lambda: ec2)
        self.dynamodb, self.ec2 = client(url, "dynamodb", OPERATOR), client(url, "ec2", OPERATOR)
        self.table = SlotTable(TABLE, self.dynamodb, lambda: self.ec2)
        self.servers: list[Server] = []
        self.was: dict[int, str] = {}
        self.counted: Counter[str] = Counter()
        self.wrong: list[str] = []

    def prepare(self) -> None:
        self.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for number in range(1, SLOTS + 1):
            item = {"slot": {"N": f"{number}"}, "address": {"S": f"{number:010x}"}, "ip": {"S": f"10.242.0.{number}"}}
            self.dynamodb.put_item(TableName=TABLE, Item=item)
        faults.ask(self.url, "PUT", share=FAILED_SHARE, seed=self.chance.randrange(10**6), spares=OPERATOR)

    def start(self, instance: str | None = None) -> None:
        """Boot a new instance, or one again."""
        if instance is None:
            started = self.ec2.run_instances(ImageId=BASE_IMAGE_ID, MinCount=1, MaxCount=1)
            instance = started["Instances"][0]["InstanceId"]
        ours, theirs = _fork.Pipe()
        process = _fork.Process(target=boot, args=(self.of_servers, instance, self.locks, theirs), daemon=True)
        process.start()
        theirs.close()
        self.counted["boots"] += 1
        self.servers.append(Server(instance, process, ours))

    def kill(self, server: Server) -> None:
        """Kill a process wherever it is; EC2 says terminated only when it can't use its slot any more."""
        self.servers.remove(server)
        self.counted["killed with a slot" if server.slot else "killed before it had said a slot"] += 1
        server.process.kill()
        server.process.join()
        if self.chance.random() < 0.4:
            self.counted["rebooted"] += 1
            self.start(server.id)
        else:
            self.ec2.terminate_instances(InstanceIds=[server.id])

    def end(self, server: Server) -> None:
        """Let a server leave as its group has it."""
        self.servers.remove(server)
        self.counted["ended"] += 1
        server.told.send("end")
        try:
            server.told.recv()
        except EOFError:
            # A call failed too often: the slot stays held until the instance is terminated.
            self.counted["  of them without a release"] += 1
        server.process.join()
        self.ec2.terminate_instances(InstanceIds=[server.id])

    def hear(self) -> None:
        """Take what servers have said, and compare it with the table."""
        for server in [each for each in self.servers if each.told.poll()]:
            try:
                said = server.told.recv()
            except EOFError:
                said = "it died"
            if isinstance(said, int):
                before = self.was.get(said)
                kind = "first" if before is None else "again" if before == server.id else "after another"
                self.counted[f"slots leased: {kind}"] += 1
                self.was[said], server.slot = server.id, said
                continue
            self.servers.remove(server)
            server.process.join()
            self.ec2.terminate_instances(InstanceIds=[server.id])
            if "are held by instances that aren't terminated" in said:
                self.counted["boots that found no slot"] += 1
            elif "the slot table can't be used" in said:
                self.counted["boots whose calls failed too often"] += 1
            else:
                self.wrong.append(f"{server.id}: {said}")
        holders = {slot.number: slot.holder for slot in self.table.read()}
        self.wrong += [
            f"{each.id} uses slot {each.slot}, which the table says {holders[each.slot]} holds"
            for each in self.servers
            if each.slot and holders[each.slot] != each.id
        ]

    def boot_all(self) -> None:
        """Boot what is missing, all at once, so that they want the same slots."""
        for _ in range(SERVERS - len(self.servers)):
            self.start()

    def act(self) -> None:
        """One step, as the seed has it."""
        action = self.chance.choice(["boot", "kill", "kill", "kill", "end", "end", "wait", "wait"])
        using = [each for each in self.servers if each.slot]
        if action == "boot":
            self.boot_all()
        elif action == "kill" and self.servers:
            self.kill(self.chance.choice(self.servers))
        elif action == "end" and using:
            self.end(self.chance.choice(using))
        time.sleep(self.chance.uniform(0, 0.3))

    def run(self, boots: int) -> list[str]:
        """Boot as many; what went wrong."""
        self.prepare()
        while self.counted["boots"] < boots and not self.wrong:
            if not self.servers:
                self.boot_all()
            self.act()
            self.hear()
        for server in list(self.servers):
            server.process.kill()
            server.process.join()
            self.ec2.terminate_instances(InstanceIds=[server.id])
        faults.ask(self.url, "DELETE")
        return self.wrong or self.all_again()

    def all_again(self) -> list[str]:
        """No slot was lost on the way: as many servers as there are slots get one each."""
        self.servers.clear()
        for _ in range(SLOTS):
            self.start()
        deadline = time.monotonic() + PATIENCE_S
        while not self.wrong and any(each.slot is None for each in self.servers) and time.monotonic() < deadline:
            time.sleep(0.1)
            self.hear()
        used = sorted(each.slot or 0 for each in self.servers)
        for server in self.servers:
            server.process.kill()
            server.process.join()
        return self.wrong or ([] if used == list(range(1, SLOTS + 1)) else [f"at the end slots {used} can be had"])


def drill(url: str, boots: int, seed: int) -> tuple[list[str], Counter[str]]:
    """Carry it out on an emulator; what went wrong, and what there was."""
    with tempfile.TemporaryDirectory(prefix="parkmesh-slots-") as locks:
        one = Drill(url, Path(locks), seed)
        return one.run(boots), one.counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    api = subprocess.Popen(
        [sys.executable, "-m", "lab.aws", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert api.stdout is not None
        wrong, counted = drill(api.stdout.readline().strip(), options.boots, options.seed)
    finally:
        api.terminate()
        api.wait()
    for name, number in counted.items():
        print(f"{name:40} {number}")
    print("\n".join(wrong) or "No slot was used by two.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
