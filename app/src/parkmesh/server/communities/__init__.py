"""Communities as the operator runs them: provisioning, their desired state, their rules, the desk."""
