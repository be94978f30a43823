"""Turns tell how sure the hotline was, and what it did about that."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Of turns from before nothing is known."""
    op.add_column("turn", sa.Column("sure", sa.Double(), nullable=True))
    op.add_column("turn", sa.Column("decision", sa.String(16), nullable=False, server_default=""))


def downgrade() -> None:
    """What was decided goes."""
    op.drop_column("turn", "decision")
    op.drop_column("turn", "sure")
