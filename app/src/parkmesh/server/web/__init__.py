"""The web application: pages for people and the REST API, behind the load balancer."""
