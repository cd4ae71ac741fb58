"""The HTTP server of the double: addresses, pages, filters and forms of AWX 24.6's API (awx/api/urls, generics.py,
pagination.py)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from lab.awx import surveys
from lab.awx.models import MODELS, UNIFIED
from lab.awx.store import Refused, Store

VERSION = "24.6.1"
PAGE, LARGEST_PAGE = 25, 200
API = "/api/v2"


class Awx:
    """The API over a store. ``tokens``: what it accepts."""

    def __init__(self, store: Store, tokens: set[str]) -> None:
        self.store, self.tokens = store, tokens
        self.lock = threading.Lock()
        self.requests: list[str] = []

    # -- forms

    def summary(self, kind: str, thing: Mapping[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, field in MODELS[kind].fields.items():
            number = thing.get(name)
            if not field.to or number is None:
                continue
            other = self.store.related(field.to, number) or {}
            fields[name] = {"id": number, "name": other.get("name"), "description": other.get("description", "")}
            if name == "unified_job_template":
                of = MODELS[self.store.unified(number)[0]].type
                fields[name]["unified_job_type"] = of.removesuffix("_template")
                if of == "workflow_approval_template":
                    fields[name]["timeout"] = other["timeout"]
        roles = {
            name: role for role, (of, number, name) in self.store.roles.items() if (of, number) == (kind, thing["id"])
        }
        if roles:
            fields["object_roles"] = {name: {"id": role, "name": name} for name, role in roles.items()}
        if kind == "projects" and "current_update" in thing:
            number = thing["current_update"]
            fields["current_update"] = {"id": number, "status": self.store.updates[number]["status"]}
        return fields

    def form(self, kind: str, thing: Mapping[str, Any]) -> dict[str, Any]:
        """Return an object as AWX's API shows it."""
        base = f"{API}/{kind}/{thing['id']}/"
        model = MODELS[kind]
        shown = {name: thing[name] for name in model.fields}
        related = {name: f"{base}{name}/" for name in model.lists}
        if kind == "credentials":
            shown["inputs"] = self.store.shown_inputs(thing)
        if kind == "notification_templates":
            shown["notification_configuration"] = self.store.shown_configuration(thing["notification_configuration"])
        if kind in ("job_templates", "workflow_job_templates"):
            related["survey_spec"] = f"{base}survey_spec/"
        if kind == "projects":
            related |= {"update": f"{base}update/", "playbooks": f"{base}playbooks/"}
            for name in ("current_update", "last_update"):
                if name in thing:
                    related[name] = f"{API}/project_updates/{thing[name]}/"
        if kind == "workflow_job_template_nodes":
            related["create_approval_template"] = f"{base}create_approval_template/"
            for link in ("success_nodes", "failure_nodes", "always_nodes"):
                shown[link] = list(self.store.attached.get((kind, thing["id"], link), []))
            if thing["unified_job_template"] is not None:
                of = self.store.unified(thing["unified_job_template"])[0]
                related["unified_job_template"] = f"{API}/{of}/{thing['unified_job_template']}/"
            del shown["name" if "name" in shown else "identifier"]
            shown["identifier"] = thing["identifier"]
        return {
            "id": thing["id"],
            "type": model.type,
            "url": base,
            "related": related,
            "summary_fields": self.summary(kind, thing),
            "created": "2026-11-01T00:00:00Z",
            "modified": "2026-11-01T00:00:00Z",
            **shown,
        }

    def update_form(self, update: Mapping[str, Any]) -> dict[str, Any]:
        done = update["status"] != "running"
        return {
            "id": update["id"],
            "type": "project_update",
            "url": f"{API}/project_updates/{update['id']}/",
            "name": update["name"],
            "status": update["status"],
            "failed": done and update["status"] != "successful",
            "started": "2026-11-01T00:00:00Z",
            "finished": "2026-11-01T00:00:01Z" if done else None,
            "event_processing_finished": done,
            "elapsed": 1.0,
            "scm_revision": update.get("scm_revision", ""),
        }

    # -- lists

    def value(self, kind: str, thing: Mapping[str, Any], path: list[str]) -> Any:
        """Return what a filter's path leads to. Raises Refused for a field that isn't there."""
        name, rest = path[0], path[1:]
        if name in ("id", "pk"):
            return thing["id"]
        field = MODELS[kind].fields.get(name)
        if field is None:
            title = MODELS[kind].type.replace("_", " ").title().replace(" ", "")
            raise Refused(400, {"detail": f"{title} has no field named '{name}'"})
        if not rest:
            return thing[name]
        number = thing[name]
        if not field.to:
            raise Refused(400, {"detail": f"Unsupported lookup '{rest[0]}'"})
        if number is None:
            return None
        of = next(one for one in field.to if number in self.store.objects[one])
        if rest == ["organization"] and of == "inventory_sources":
            return None
        return self.value(of, self.store.objects[of][number], rest)

    def matches(self, kind: str, thing: Mapping[str, Any], name: str, text: str) -> bool:
        path = name.split("__")
        lookup = path.pop() if path[-1] in ("startswith", "exact", "in", "icontains") else "exact"
        value = self.value(kind, thing, path)
        if lookup == "startswith":
            return str(value).startswith(text)
        if lookup == "icontains":
            return text.lower() in str(value).lower()
        if lookup == "in":
            return str(value) in text.split(",")
        field = MODELS[kind].fields.get(path[-1])
        if field is not None and field.to and not text.isdigit():
            raise Refused(400, {"detail": f"Field '{path[-1]}' expected a number but got '{text}'."})
        if text in ("None", "null"):
            return value is None
        return str(value) == text

    def page(self, path: str, query: list[tuple[str, str]], forms: list[Any]) -> dict[str, Any]:
        given = dict(query)
        try:
            number, size = int(given.get("page", 1)), min(int(given.get("page_size", PAGE)), LARGEST_PAGE)
        except ValueError as error:
            raise Refused(404, {"detail": "Invalid page."}) from error
        first = (number - 1) * size
        if number < 1 or (first >= len(forms) and number > 1):
            raise Refused(404, {"detail": "Invalid page."})

        def at(page: int) -> str:
            return f"{path}?{urlencode({**given, 'page': page})}"

        return {
            "count": len(forms),
            "next": at(number + 1) if first + size < len(forms) else None,
            "previous": at(number - 1) if number > 1 else None,
            "results": forms[first : first + size],
        }

    def listed(self, kind: str, query: list[tuple[str, str]], only: list[int] | None = None) -> list[Any]:
        """Return the forms of a kind that a query finds; ``unified_job_templates`` is all of its kinds."""
        filters = [(name, text) for name, text in query if name not in ("page", "page_size", "order_by", "format")]
        found = []
        for of in UNIFIED if kind == "unified_job_templates" else (kind,):
            for thing in self.store.objects[of].values():
                if only is not None and thing["id"] not in only:
                    continue
                good, either, anyone = True, False, False
                for name, text in filters:
                    if name == "type":
                        good = good and text == MODELS[of].type
                        continue
                    if kind == "unified_job_templates" and name == "organization" and of == "inventory_sources":
                        good = False
                        continue
                    hit = self.matches(of, thing, name.removeprefix("or__"), text)
                    if name.startswith("or__"):
                        either, anyone = True, anyone or hit
                    else:
                        good = good and hit
                if good and (anyone or not either):
                    found.append(self.form(of, thing))
        return found

    # -- requests

    def answer(self, method: str, target: str, body: Any, token: str | None) -> tuple[int, Any]:
        """Return an answer's status and body: an object or text."""
        parts = urlsplit(target)
        self.requests.append(f"{method} {parts.path}")
        query = parse_qsl(parts.query, keep_blank_values=True)
        if not parts.path.startswith(f"{API}/") or not parts.path.endswith("/"):
            return 404, {"detail": "The requested resource could not be found."}
        words = parts.path.removeprefix(f"{API}/").strip("/").split("/")
        if words == ["ping"]:
            return 200, {"ha": False, "version": VERSION, "active_node": "awx", "instances": [], "instance_groups": []}
        if token not in self.tokens:
            told = "Authentication credentials were not provided. To establish a login session, visit /api/login/."
            return 401, {"detail": told}
        with self.lock:
            self.store.settle()
            try:
                return self.route(method, parts.path, words, query, body)
            except Refused as error:
                return error.status, error.body

    def route(
        self, method: str, path: str, words: list[str], query: list[tuple[str, str]], body: Any
    ) -> tuple[int, Any]:
        if method in ("POST", "PATCH") and not isinstance(body, dict):
            raise Refused(400, {"detail": "JSON parse error"})
        match words:
            case [kind] if kind in MODELS or kind == "unified_job_templates":
                return self.collection(method, path, kind, query, body)
            case [kind, number] if kind in MODELS and number.isdigit():
                return self.detail(method, kind, int(number), body)
            case ["roles", number, "teams"] if number.isdigit():
                if method == "POST":
                    self.store.grant(int(number), body)
                    return 204, None
                teams = self.listed("teams", query, self.store.grants.get(int(number), []))
                return 200, self.page(path, query, teams)
            case ["teams", number, "roles"] if number.isdigit() and method == "GET":
                self.store.find("teams", int(number))
                held = [role for role, teams in self.store.grants.items() if int(number) in teams]
                forms = [{"id": role, "type": "role", "name": self.store.roles[role][2]} for role in sorted(held)]
                return 200, self.page(path, query, forms)
            case ["project_updates", number, *rest] if number.isdigit():
                return self.project_update(method, int(number), rest)
            case [kind, number, name] if kind in MODELS and number.isdigit():
                return self.sub(method, path, kind, int(number), name, query, body)
        raise Refused(404, {"detail": "The requested resource could not be found."})

    def collection(self, method: str, path: str, kind: str, query: list[tuple[str, str]], body: Any) -> tuple[int, Any]:
        if method == "GET":
            return 200, self.page(path, query, self.listed(kind, query))
        if method == "POST" and kind not in ("unified_job_templates", "workflow_approval_templates"):
            return 201, self.form(kind, self.store.create(kind, body))
        raise Refused(405, {"detail": f'Method "{method}" not allowed.'})

    def detail(self, method: str, kind: str, number: int, body: Any) -> tuple[int, Any]:
        if method == "GET":
            return 200, self.form(kind, self.store.find(kind, number))
        if method == "PATCH":
            return 200, self.form(kind, self.store.change(kind, number, body))
        if method == "DELETE" and kind != "labels":
            status = self.store.delete(kind, number)
            return status, {} if status == 202 else None
        raise Refused(405, {"detail": f'Method "{method}" not allowed.'})

    def project_update(self, method: str, number: int, rest: list[str]) -> tuple[int, Any]:
        update = self.store.updates.get(number)
        if update is None or method != "GET":
            raise Refused(404, {"detail": "No ProjectUpdate matches the given query."})
        if rest == ["stdout"]:
            return 200, str(update["stdout"])
        return 200, self.update_form(update)

    def sub(
        self, method: str, path: str, kind: str, number: int, name: str, query: list[tuple[str, str]], body: Any
    ) -> tuple[int, Any]:
        thing = self.store.find(kind, number)
        if name in MODELS[kind].lists:
            if method == "POST":
                self.store.attach(kind, number, name, body)
                return 204, None
            held = self.store.attached.get((kind, number, name), [])
            forms = {form["id"]: form for form in self.listed(MODELS[kind].lists[name], query, held)}
            return 200, self.page(path, query, [forms[one] for one in held if one in forms])
        match kind, name, method:
            case (("job_templates" | "workflow_job_templates"), "survey_spec", "GET"):
                return 200, thing.get("survey_spec") or {}
            case (("job_templates" | "workflow_job_templates"), "survey_spec", "POST"):
                told = surveys.error(body)
                if told:
                    raise Refused(400, {"error": told})
                thing["survey_spec"] = body
                self.store.writes.append(f"POST {kind} {thing['name']} survey")
                return 200, None
            case (("job_templates" | "workflow_job_templates"), "survey_spec", "DELETE"):
                thing["survey_spec"] = {}
                return 200, None
            case "projects", "playbooks", "GET":
                return 200, thing.get("playbook_files", [])
            case "projects", "update", "POST":
                if not thing["scm_type"]:
                    raise Refused(405, {"detail": "Manual projects can't be updated."})
                update = self.store.sync(thing)
                return 202, {"project_update": update["id"], **self.update_form(update)}
            case "workflow_job_template_nodes", "create_approval_template", "POST":
                if not body.get("name"):
                    raise Refused(400, {"name": ["This field is required."]})
                values = {name: body[name] for name in ("name", "description", "timeout") if name in body}
                made = self.store.create("workflow_approval_templates", values)
                thing["unified_job_template"] = made["id"]
                return 201, self.form("workflow_approval_templates", made)
        raise Refused(404, {"detail": "The requested resource could not be found."})


def handler(awx: Awx) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers a server's requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body go out together: apart, each answer would wait for an acknowledgement of its head.
        wbufsize = -1

        def log_message(self, *arguments: object) -> None:
            """Write nothing: tests read ``Awx.requests``."""

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length)
            try:
                body = json.loads(text) if text else {}
            except ValueError:
                body = None
            found = re.fullmatch(r"Bearer (\S+)", self.headers.get("Authorization") or "")
            status, answer = awx.answer(self.command, self.path, body, found[1] if found else None)
            plain = isinstance(answer, str)
            content = b"" if answer is None else (answer if plain else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if plain else "application/json")
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", VERSION)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

    return Handler


@contextmanager
def serving(projects: Mapping[str, Path], tokens: set[str]) -> Iterator[tuple[str, Awx]]:
    """Serve on a free port of this host; gives the address and what is behind it."""
    awx = Awx(Store(projects), tokens)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(awx))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", awx
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
