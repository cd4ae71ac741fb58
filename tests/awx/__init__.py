"""playbooks/apply-awx.yml with collection awx.awx against lab.awx."""
