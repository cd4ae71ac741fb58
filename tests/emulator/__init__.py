"""lab.aws, and the AWS playbooks tried on it."""
