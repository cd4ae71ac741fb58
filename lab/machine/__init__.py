"""What the lab needs of the machine that it runs on: podman, ports, address ranges, processes, folders."""
