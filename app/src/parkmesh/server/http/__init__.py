"""What the web application and the edge API share as HTTP servers: middleware, sockets, problem details."""
