"""The readers of imports find what they are for: each is shown a planted fault, and the same without it."""

import import_graph as graph

CLEAN = {
    "p": "",
    "p.domain": "",
    "p.domain.plates": "import re\n",
    "p.server": "",
    "p.server.db": "",
    "p.server.db.pool": "from p.domain import plates\n",
    "p.server.web": "",
    "p.server.web.app": "from p.server.db.pool import Pool\nfrom typing import TYPE_CHECKING\n",
}


def test_imports_of_all_forms_are_read() -> None:
    tree = {
        "p": "",
        "p.a": "import p.b\n",
        "p.b": "from p import c\n",
        "p.c": "from p.d import Thing\n",
        "p.d": "from . import e\n",
        "p.e": "def work():\n    from .f import x\n",
        "p.f": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import y\n",
        "zerotier_http": "",
        "zerotier_client": "from ansible.module_utils.zerotier_http import ask\n",
    }
    found = graph.edges(tree)
    assert [found[f"p.{name}"] for name in "abcdef"] == [{"p.b"}, {"p.c"}, {"p.d"}, {"p.e"}, {"p.f"}, set()]
    assert found["zerotier_client"] == {"zerotier_http"}


def test_a_circle_is_found_also_around_and_inside_a_function() -> None:
    assert graph.circles(graph.edges(CLEAN)) == []
    around = {"a": "import b\n", "b": "import c\n", "c": "def f():\n    import a\n", "d": "import a\n"}
    assert graph.circles(graph.edges(around)) == ["import each other: a, b, c"]


def test_an_import_that_a_package_may_not_have_is_found() -> None:
    assert graph.forbidden(graph.edges(CLEAN), "p.domain", "p", but="p.domain") == []
    planted = {**CLEAN, "p.domain.plates": "from p.server.db import pool\n"}
    found = graph.forbidden(graph.edges(planted), "p.domain", "p", but="p.domain")
    assert found == ["p.domain.plates imports p.server.db.pool"]


def test_an_import_upward_is_found_and_so_is_what_has_no_place() -> None:
    order = ["p", "p.domain", "p.server", "p.server.db", "p.server.web"]
    assert graph.upward(graph.edges(CLEAN), order) == []
    planted = {**CLEAN, "p.server.db.pool": "from p.server.web import app\n"}
    assert graph.upward(graph.edges(planted), order) == ["p.server.db.pool imports p.server.web.app, which is above it"]
    assert graph.upward(graph.edges({**CLEAN, "q": ""}), order) == ["q is in no package of the order"]


def test_a_module_at_the_top_is_found() -> None:
    assert graph.strangers(CLEAN, "p.server", ()) == []
    assert graph.strangers({**CLEAN, "p.server.utils": ""}, "p.server", ("audit",)) == [
        "p.server.utils lies at the top of p.server"
    ]


def test_a_brand_is_found_in_code_and_texts_but_not_in_comments() -> None:
    tree = {
        "m": "# as Acme does\nfrom drivers import camera\n",
        "n": "from drivers import acme\n",
        "o": "x = 'Acme says'\n",
    }
    assert graph.brands(tree, ["m"], ["acme"]) == []
    assert graph.brands(tree, ["n", "o"], ["acme"]) == ["n names acme", "o names acme"]
