"""`down`: removes what carries this lab's label or name, and nothing else; also after a crash or half an `up`."""

import shutil
from collections.abc import Callable, Iterable
from typing import Any

from lab.machine import engine, packet_rules, processes, state
from lab.machine.base_image import remove_abandoned_builds
from lab.machine.names import BASE_LABEL, LABEL, Lab
from lab.machine.podman import Podman, PodmanError
from lab.machine.progress import say


def ours(lab: Lab, name: str, labels: dict[str, str] | None) -> bool:
    """Whether a container, volume or network belongs to the lab: by label, or by name where a crash left no label."""
    owner = (labels or {}).get(LABEL)
    if owner is not None:
        return owner == lab.id
    return name.startswith(lab.prefix)


def down(lab: Lab, *, everything: bool = False) -> None:
    """Stop the daemon, remove containers, volumes, networks, images and the state folder of the lab.

    With `everything` also the base images and their archives, which other labs of this machine would build again.
    """
    with state.held(lab):
        there = lab.lab_json.exists() or (lab.state / "secrets").exists()
        podman, _ = engine.podman_for(lab)
        removed = _stop_daemons(lab)
        removed += _remove(podman, ["rm", "--force", "--time=0", "--volumes"], _containers(lab, podman))
        removed += _remove(podman, ["volume", "rm", "--force"], _named(lab, podman, "volume", "Name", "Labels"))
        packet_rules.remove(lab)
        removed += _remove(podman, ["network", "rm", "--force"], _named(lab, podman, "network", "name", "labels"))
        removed += _remove(podman, ["rmi", "--force"], _images(lab, podman))
        for name in remove_abandoned_builds(podman):
            removed += 1
            say(f"removed interrupted build {name}")
        if everything:
            removed += _remove(podman, ["rmi"], _base_images(podman))
            if lab.cache.exists():
                shutil.rmtree(lab.cache)
                removed += 1
                say(f"removed {lab.cache}")
        if lab.state.exists():
            shutil.rmtree(lab.state)
            if there:
                removed += 1
                say(f"removed {lab.state}")
    say(f"lab {lab.id} is down" if removed else f"lab {lab.id} is not there: nothing to remove")


def _stop_daemons(lab: Lab) -> int:
    found = {identity.pid: identity for identity in processes.find_daemons(lab.name, lab.root)}
    known = processes.load(lab.state / "daemon.pid")
    if known is not None and processes.alive(known):
        found[known.pid] = known
    for identity in found.values():
        processes.stop(identity)
        say(f"stopped the lab daemon (process {identity.pid})")
    return len(found)


def _remove(podman: Podman, command: list[str], names: Iterable[str]) -> int:
    count = 0
    failed: list[PodmanError] = []
    for name in names:
        try:
            podman.run(*command, name, timeout=120)
        except PodmanError as error:
            failed.append(error)
            continue
        count += 1
        say(f"removed {command[0] if command[0] in ('volume', 'network') else _kind(command)} {name}")
    if failed:
        raise failed[0]
    return count


def _kind(command: list[str]) -> str:
    return {"rm": "container", "rmi": "image"}[command[0]]


def _containers(lab: Lab, podman: Podman) -> list[str]:
    rows = podman.json("ps", "--all")
    return [row["Names"][0] for row in rows if ours(lab, row["Names"][0], row.get("Labels"))]


def _named(lab: Lab, podman: Podman, kind: str, name: str, labels: str) -> list[str]:
    rows: list[dict[str, Any]] = podman.json(kind, "ls")
    return [row[name] for row in rows if ours(lab, row[name], row.get(labels))]


def _images(lab: Lab, podman: Podman) -> list[str]:
    """Images baked in this lab, by name; an image without a name is one whose commit was interrupted, by id."""
    rows = podman.json("images", "--all")
    found: list[str] = []
    for row in rows:
        names = [name for name in row.get("Names") or [] if name.startswith(lab.image(""))]
        owner = (row.get("Labels") or {}).get(LABEL)
        if names:
            found += names
        elif owner == lab.id and not row.get("Names"):
            found.append(row["Id"])
    return found


def _base_images(podman: Podman) -> list[str]:
    has_label: Callable[[dict[str, Any]], bool] = lambda row: BASE_LABEL in (row.get("Labels") or {})  # noqa: E731
    rows = [row for row in podman.json("images") if has_label(row)]
    # Children first: a built image stands on the imported one.
    names = [name for row in rows for name in row.get("Names") or []]
    return sorted(names, key=lambda name: not name.startswith("localhost/parkmesh-base:"))
