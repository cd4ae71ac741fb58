"""The lab's AWS: moto's server with the corrections that this project's playbooks need, in memory, on any addresses.

`serve()` starts it, `hooks` lets the lab's compute driver take part: it says how healthy a target is and turns an
instance into an image. Each correction names the AWS documentation that it follows, in the module of its service.
`python -m lab.aws --port N` runs it alone.
"""

from .ec2 import BASE_IMAGE_ID, BASE_IMAGE_NAME, BASE_IMAGE_OWNER
from .hooks import Hooks, hooks
from .server import Server, serve, state_lock

__all__ = ["BASE_IMAGE_ID", "BASE_IMAGE_NAME", "BASE_IMAGE_OWNER", "Hooks", "Server", "hooks", "serve", "state_lock"]
