"""``python3 -m parkmesh_nat take`` (once, at boot) and ``python3 -m parkmesh_nat forward`` (for ever)."""

import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from parkmesh_nat import agent, takeover
from parkmesh_nat.settings import Settings, SettingsError, metadata, parse

STATE = Path("/var/lib/parkmesh-nat/forwards")


def say(text: str) -> None:
    print(text, flush=True)


def client(service: str, settings: Settings) -> Any:
    # One quick try: the next one follows in a moment anyhow.
    config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    return boto3.client(service, region_name=settings.region, endpoint_url=settings.endpoint_url, config=config)


def forward(settings: Settings) -> None:
    dynamodb = client("dynamodb", settings)
    running = agent.Agent(lambda: agent.read_table(dynamodb, settings.slot_table), settings, STATE, say)
    running.begin()
    while True:
        running.once()
        time.sleep(agent.INTERVAL_S)


def main(command: str) -> int:
    try:
        settings = parse(metadata("user-data"))
        if command == "take":
            for line in takeover.take(client("ec2", settings), metadata("meta-data/instance-id"), settings):
                say(line)
        else:
            forward(settings)
    except (SettingsError, agent.ApplyError, ClientError, BotoCoreError, OSError) as error:
        print(f"parkmesh-nat: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["take"], ["forward"]):
        sys.exit("usage: python3 -m parkmesh_nat take|forward")
    sys.exit(main(sys.argv[1]))
