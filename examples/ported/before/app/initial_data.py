"""Creates the first user: python -m app.initial_data."""

import logging

from app import crud
from app.core.config import settings

log = logging.getLogger(__name__)


def main() -> None:
    """Create the first user, unless it exists."""
    crud.create_user(settings.FIRST_SUPERUSER, settings.FIRST_SUPERUSER_PASSWORD)
    log.info("Created %s", settings.FIRST_SUPERUSER)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
