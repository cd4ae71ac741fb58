"""What the Python trees of the project import, read with ``ast``, and the rules of the house on it.

A tree is a mapping from the dotted name of a module to its source. A package's name stands for its ``__init__``. Rules
return what is wrong as plain lines; an empty list is good.
"""

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

Tree = Mapping[str, str]


def read(folder: Path, prefix: str = "") -> dict[str, str]:
    """Return the modules below a folder; ``prefix`` is the dotted name of the folder itself, if it has one."""
    tree = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [*filter(None, prefix.split(".")), *path.relative_to(folder).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        if parts:
            tree[".".join(parts)] = path.read_text()
    return tree


def _packages(tree: Tree) -> set[str]:
    return {module.rpartition(".")[0] for module in tree}


def _imported(tree: Tree, module: str) -> Iterator[str]:
    """Yield the modules of the tree that a module imports, wherever in it, but not for its annotations alone."""
    parsed = ast.parse(tree[module])
    for_types = {
        inner
        for node in ast.walk(parsed)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    is_package = module in _packages(tree)
    for node in ast.walk(parsed):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*above, *filter(None, [node.module])])
            base = base.replace("ansible.module_utils.", "") if base.startswith("ansible.module_utils.") else base
            names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in tree else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if name in tree and name != module)


def edges(tree: Tree) -> dict[str, set[str]]:
    """Return what each module imports of the tree."""
    return {module: set(_imported(tree, module)) for module in tree}


def circles(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Return every group of modules that import each other, directly or around."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph.get(name, ())
        reached[start] = seen
    groups = {
        frozenset(other for other in reached[name] if name in reached.get(other, ())) | {name}
        for name in graph
        if name in reached[name]
    }
    return sorted(f"import each other: {', '.join(sorted(group))}" for group in groups)


def inside(module: str, package: str) -> bool:
    """Tell whether a module is the package or in it."""
    return module == package or module.startswith(f"{package}.")


def forbidden(graph: Mapping[str, Collection[str]], importer: str, imported: str, but: str = "") -> list[str]:
    """Return the imports of ``imported`` (a package) in ``importer`` (another), except of what is in ``but``."""
    return sorted(
        f"{module} imports {name}"
        for module, names in graph.items()
        if inside(module, importer)
        for name in names
        if inside(name, imported) and not (but and inside(name, but))
    )


def upward(graph: Mapping[str, Collection[str]], order: Sequence[str]) -> list[str]:
    """Return the imports that go up: ``order`` lists packages and modules from the lowest to the highest.

    The longest entry that a module is in counts. What is in none is an error too.
    """

    def place(module: str) -> int | None:
        found = [entry for entry in order if inside(module, entry)]
        return order.index(max(found, key=len)) if found else None

    wrong = []
    for module, names in graph.items():
        here = place(module)
        if here is None:
            wrong.append(f"{module} is in no package of the order")
            continue
        for name in names:
            there = place(name)
            if there is not None and there > here:
                wrong.append(f"{module} imports {name}, which is above it")
    return sorted(wrong)


def strangers(tree: Tree, package: str, allowed: Collection[str]) -> list[str]:
    """Return the modules that lie at the top of a package without being among ``allowed``."""
    packages = _packages(tree)
    return sorted(
        f"{module} lies at the top of {package}"
        for module in tree
        if module.rpartition(".")[0] == package and module not in packages and module.rpartition(".")[2] not in allowed
    )


def brands(tree: Tree, modules: Collection[str], words: Collection[str]) -> list[str]:
    """Return where a module names a brand, in its code or its texts; comments don't count."""
    wrong = []
    for module in modules:
        for node in ast.walk(ast.parse(tree[module])):
            texts = [
                *(
                    str(getattr(node, field))
                    for field in ("id", "attr", "name", "arg", "module")
                    if hasattr(node, field)
                ),
                *([node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []),
            ]
            wrong += [f"{module} names {word}" for word in words for text in texts if word in text.lower()]
    return sorted(set(wrong))
