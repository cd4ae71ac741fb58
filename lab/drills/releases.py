"""Another release of the project than this checkout's."""

import shutil
import subprocess
from pathlib import Path

from lab.machine.names import ROOT

SHARED = (".lab", ".cache", ".venv")
"""What a copy has in common with this checkout: the lab, what was fetched, and Python's packages."""
VERSIONS = Path("app/src/parkmesh/server/db/migrations/versions")


def copy(into: Path) -> Path:
    """Return a copy of this checkout, which a caller makes another release of."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        if (ROOT / name).exists():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, into / name, follow_symlinks=False)
    for name in SHARED:
        (into / name).symlink_to(ROOT / name)
    return into


def add_migration(project: Path, script: str) -> str:
    """Give a copy one more revision of the schema, which runs this SQL; returns its number."""
    last = max(path.stem[:4] for path in (project / VERSIONS).glob("0*.py"))
    number = f"{int(last) + 1:04d}"
    (project / VERSIONS / f"{number}_drill.py").write_text(
        f'''"""What a drill's next release adds."""

from alembic import op

revision = "{number}"
down_revision = "{last}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""{script}""")


def downgrade() -> None:
    raise NotImplementedError
'''
    )
    return number
