"""Inventory of communities: one file for each, from which its gateway and its description follow."""

from __future__ import annotations

DOCUMENTATION = r"""
name: communities
short_description: Gateways and communities, from one file for each community
description:
  - Reads the files V(<name>.yml) of a folder, each of which describes one community, and checks them
    (docs/communities.md).
  - The file's name ends in C(communities.yml) or C(communities.yaml).
  - Makes a host of each community's gateway, in group C(gateways), with the variables that playbooks and roles read
    (C(overlay_member), C(gateway_console), C(parking_gateway_*)), and of each simulator, in group C(simulators), with
    C(parking_simulator_site). All of a community's hosts are in group C(community_<name>), with C(_) for C(-).
  - Gives group C(all) the variables C(communities) (what C(parkmesh admin apply) is told) and C(communities_handover)
    (what the hand-over sheet needs beside it, by the community's name).
  - A host that the folder doesn't know stays as the inventory's other files describe it. Its variables there
    (C(host_vars)) win over those of the file.
  - One wrong file fails the inventory. The error names every fault with file, line, key and the allowed values.
author: parkmesh project (@parkmesh)
options:
  plugin:
    description: Marks the file as this plugin's.
    required: true
    choices: [communities]
  folder:
    description:
      - The folder with the communities' files. A relative path is relative to the inventory file.
      - C(ansible.cfg) makes Ansible ignore folders named V(communities), which it would take for inventories.
    type: str
    default: communities
    env:
      - name: PARKMESH_COMMUNITIES
"""

EXAMPLES = r"""
# inventory/production/communities.yml; the files are in inventory/production/communities/
plugin: communities
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ansible.module_utils
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template

# Modules get the project's module_utils in their archive; on the control node they are found beside this folder.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

if TYPE_CHECKING:
    from module_utils import community_file as checks
    from module_utils import community_inventory as transform
else:
    from ansible.module_utils import community_file as checks
    from ansible.module_utils import community_inventory as transform

SUFFIXES = (".yml", ".yaml")


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    """Reads the files and fills the inventory with what follows from them."""

    NAME = "communities"
    inventory: Any
    loader: Any

    def verify_file(self, path: str) -> bool:
        """Whether the file is this plugin's by its name."""
        return bool(super().verify_file(path)) and path.endswith(("communities.yml", "communities.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory from the folder that one file names."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        folder = Path(path).resolve().parent / Path(self.get_option("folder")).expanduser()
        if not folder.is_dir():
            raise AnsibleParserError(f"{path}: folder {folder} doesn't exist")
        files, faults = self._files(folder)
        for file in files:
            faults += checks.check(file)
        if not faults:
            faults = checks.check_together(files)
        if faults:
            raise AnsibleParserError("\n".join(str(fault) for fault in sorted(faults)))
        self._fill(transform.make(files))

    def _files(self, folder: Path) -> tuple[list[checks.File], list[checks.Fault]]:
        files, faults = [], []
        for path in sorted(folder.iterdir()):
            if path.suffix not in SUFFIXES or path.name.startswith("."):
                continue
            source = f"{folder.name}/{path.name}"
            lines, unreadable = checks.lines(path.read_text(encoding="utf-8"), source)
            faults += unreadable
            if not unreadable:
                data = self.loader.load_from_file(str(path), cache="none", trusted_as_template=True)
                files.append(checks.File(source, path.stem, data, lines))
        return files, faults

    def _fill(self, made: transform.Made) -> None:
        self.inventory.set_variable("all", "communities", _trusted(made.communities))
        self.inventory.set_variable("all", "communities_handover", _trusted(made.handover))
        for host in made.hosts:
            for group in host.groups:
                self.inventory.add_group(group)
                self.inventory.add_host(host.name, group=group)
            for name, value in host.variables.items():
                self.inventory.set_variable(host.name, name, _trusted(value))


def _trusted(value: Any) -> Any:
    """A value with its texts as templates: the operator wrote the file, as they write host_vars."""
    if isinstance(value, dict):
        return {key: _trusted(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_trusted(entry) for entry in value]
    return trust_as_template(value) if isinstance(value, str) else value
