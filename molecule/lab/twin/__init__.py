"""The lab: a twin of production on one machine (AWS emulator, podman containers, networks). See docs/lab.md."""
