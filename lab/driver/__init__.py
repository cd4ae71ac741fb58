"""What makes the records of the lab's AWS come true: containers that follow them, in one background process."""
