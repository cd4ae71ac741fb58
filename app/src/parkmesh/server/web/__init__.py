"""The web door: pages for people and the REST API, behind the load balancer."""
