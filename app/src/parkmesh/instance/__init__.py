"""What an app server does once at boot: read its instance data, lease an overlay slot, write its run-time files."""
