"""What the accounts of HIVE keep on the disk, and what they do not."""

from pathlib import Path

from examples.hive.accounts import Accounts


def test_a_password_is_known_and_not_kept(tmp_path: Path) -> None:
    """Whoever gets the database has no password, not even two that are the same."""
    path = tmp_path / "hive.db"
    accounts = Accounts(path)
    accounts.add("ann", "fake-password-of-two")
    accounts.add("bob", "fake-password-of-two")
    assert accounts.verify("ann", "fake-password-of-two")
    assert accounts.verify("bob", "fake-password-of-two")
    assert not accounts.verify("ann", "fake-password")
    assert b"fake-password" not in path.read_bytes()
    with accounts._table() as table:  # noqa: SLF001  (a look at what a thief would see)
        rows = table.execute("SELECT salt, hash FROM accounts").fetchall()
    assert len({salt for salt, _ in rows}) == len({hashed for _, hashed in rows}) == 2


def test_an_account_is_added_once(tmp_path: Path) -> None:
    """A restart does not take a user's password away."""
    accounts = Accounts(tmp_path / "hive.db")
    accounts.add("ann", "fake-first-password")
    accounts.add("ann", "fake-second-password")
    assert accounts.verify("ann", "fake-first-password")
    assert not accounts.verify("ann", "fake-second-password")
