"""The lab's driver: containers that follow the records of the lab's AWS, in one background process."""
