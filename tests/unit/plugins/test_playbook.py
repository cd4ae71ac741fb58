"""Modules, filters and the inventory plugin together, as ansible-playbook runs them from the project's own settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT, Controller

PLAY = """
- name: Provision an overlay
  hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    slots: "{{ '10.242.0.0/16' | zerotier_slot_addresses(2) }}"
  module_defaults:
    zerotier_network: &plane
      api: controller
      url: "{{ controller_url }}"
      token_file: "{{ controller_token_file }}"
    zerotier_members: *plane
  tasks:
    - name: Network
      zerotier_network:
        name: parkmesh
        routes: [{target: 10.242.0.0/16}]
        v6_assign_mode: {sixplane: true}
        rules_source: |
          accept ethertype arp;
          accept ipprotocol tcp and dport 8001 and tseq role gateway and treq role app;
        tags: {role: {id: 1, enums: {app: 1, gateway: 2}}, community: {id: 2}}
      register: overlay
    - name: Members
      zerotier_members:
        network_id: "{{ overlay.network_id }}"
        tag_definitions: "{{ overlay.tags_by_name }}"
        members:
          - {address: aaaaaaaaa1, name: slot-1, authorized: true, ip_assignments: "{{ [slots[0]] }}", tags: {role: app}}
          - {address: bbbbbbbbb1, name: gateway-a, authorized: true, tags: {role: gateway, community: 1}}
      register: members
    - name: The gateway may reach the app and the app may not reach the gateway
      ansible.builtin.assert:
        that:
          - (compiled | zerotier_explain(packet, gateway, app)).delivered
          - not (compiled | zerotier_explain(packet, app, gateway)).delivered
      vars:
        compiled: "{{ {'rules': overlay.network.rules} }}"
        packet: {protocol: tcp, destination_port: 8001}
        gateway: {tags: {'1': 2}}
        app: {tags: {'1': 1}}
"""

INVENTORY = """
plugin: zerotier
api: controller
url: "{{ controller_url }}"
token_file: "{{ controller_token_file }}"
networks: [parkmesh]
tags: {role: {id: 1, enums: {app: 1, gateway: 2}}}
ansible_host: [managed_ipv4, 6plane]
"""


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _changed(output: str) -> int:
    recap = next(line for line in output.splitlines() if line.startswith("localhost") and "changed=" in line)
    return int(recap.partition("changed=")[2].split()[0])


def test_an_overlay_is_provisioned_once_and_its_members_are_the_inventory(
    clean_controller: Controller, tmp_path: Path
) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "zerotier.yml").write_text(INVENTORY)
    variables = json.dumps(
        {"controller_url": clean_controller.url, "controller_token_file": clean_controller.token_file}
    )
    play = [str(tmp_path / "play.yml"), "-i", "localhost,", "-e", variables]
    assert _changed(_run("ansible-playbook", *play)) == 2
    again = _run("ansible-playbook", *play, "--check", "--diff")
    assert _changed(again) == 0
    listed = json.loads(
        _run("ansible-inventory", "-i", str(tmp_path / "zerotier.yml"), "-e", variables, "--list", "--export")
    )
    assert listed["zerotier_role_gateway"]["hosts"] == ["gateway-a"]
    # Ansible marks what must never be taken as a template.
    where = {name: entry["ansible_host"]["__ansible_unsafe"] for name, entry in listed["_meta"]["hostvars"].items()}
    assert where["slot-1"] == "10.242.0.11"
    assert where["gateway-a"].startswith("fc")
    assert clean_controller.token not in again
