"""The AWS playbooks and the emulator that they are tried on."""
