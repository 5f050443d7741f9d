"""Users, their sessions, and guesses: what ends a session, and how many log-ins may fail."""

from collections.abc import Callable

from tests.contract.shop import Shop
from worker.domain.admins import GUESS_SECONDS, IDLE_SECONDS, MOST_GUESSES, SESSION_SECONDS, Role, Visitor, digest
from worker.models import AdminGuess, AdminSession
from worker.store import admins, guesses
from worker.store.admins import User


def user(shop: Shop, name: str = "ada", role: Role = Role.ADMIN) -> User:
    shop.write(admins.add, name, role, "hash")
    found = shop.database.read(admins.user_of, name)
    assert found
    return found


def logged_in(shop: Shop, who: User) -> str:
    secret = shop.write(admins.enter, who, "Firefox on Linux")
    assert secret
    return secret


def visitor(shop: Shop, secret: str) -> Visitor | None:
    return shop.database.read(admins.session_of, secret)


def later(shop: Shop, *, seen: float = 0.0, ends: float = 0.0) -> None:
    shop.change(
        "UPDATE admin_session SET seen_at = stockbell_now(-:seen), ends_at = stockbell_now(:ends)", seen=seen, ends=ends
    )


def test_a_session_ends_with_its_time_and_when_it_is_idle(shop: Shop) -> None:
    secret = logged_in(shop, user(shop))
    assert visitor(shop, secret) == Visitor("ada", Role.ADMIN, digest(secret))
    assert visitor(shop, f"{secret}x") is None
    later(shop, seen=IDLE_SECONDS - 5, ends=5)
    assert visitor(shop, secret) == Visitor("ada", Role.ADMIN, digest(secret), is_stale=True)
    later(shop, seen=0, ends=-1)
    assert visitor(shop, secret) is None
    later(shop, seen=IDLE_SECONDS + 5, ends=SESSION_SECONDS)
    assert visitor(shop, secret) is None


def test_its_use_is_recorded_to_a_minute(shop: Shop) -> None:
    secret = logged_in(shop, user(shop))
    before = shop.ask("SELECT seen_at FROM admin_session", seen_at="time")
    shop.write(admins.note_seen, digest(secret))
    assert shop.ask("SELECT seen_at FROM admin_session", seen_at="time") == before
    later(shop, seen=70, ends=100)
    shop.write(admins.note_seen, digest(secret))
    found = visitor(shop, secret)
    assert found
    assert not found.is_stale


def test_a_new_password_or_role_and_removal_end_all_sessions_of_this_user(shop: Shop) -> None:
    ada, bob = user(shop), user(shop, "bob")
    others = logged_in(shop, bob)
    changes: list[Callable[[], bool]] = [
        lambda: shop.write(admins.set_password, "ada", "hash"),
        lambda: shop.write(admins.set_role, "ada", Role.VIEWER),
        lambda: shop.write(admins.remove, "ada"),
    ]
    for change in changes:
        secret = logged_in(shop, ada)
        assert change()
        assert visitor(shop, secret) is None
        assert visitor(shop, others)
    assert shop.write(admins.set_password, "ada", "hash") is False
    assert shop.write(admins.remove, "ada") is False


def test_a_log_in_that_was_verified_before_a_change_leads_to_no_session(shop: Shop) -> None:
    ada = user(shop)
    shop.write(admins.set_password, "ada", "other")
    assert shop.write(admins.enter, ada) is None
    new = shop.database.read(admins.user_of, "ada")
    assert new
    shop.write(admins.remove, "ada")
    assert shop.write(admins.enter, new) is None
    assert shop.count(AdminSession) == 0


def test_the_role_is_that_of_the_user_now(shop: Shop) -> None:
    secret = logged_in(shop, user(shop))
    shop.change("UPDATE admin_user SET role = 'viewer'")
    found = visitor(shop, secret)
    assert found
    assert found.role is Role.VIEWER


def test_a_user_who_was_removed_can_be_added_again(shop: Shop) -> None:
    user(shop)
    assert shop.write(admins.add, "ada", Role.VIEWER, "x") is None
    shop.write(admins.remove, "ada")
    assert not shop.database.read(admins.is_any)
    assert shop.write(admins.add, "ada", Role.VIEWER, "x")
    found = shop.database.read(admins.user_of, "ada")
    assert found
    assert (found.role, found.password) == (Role.VIEWER, "x")


def test_who_came_by_the_link_is_out_once_there_is_a_user(shop: Shop) -> None:
    secret = shop.write(admins.open_session, "first", Role.ADMIN)
    assert visitor(shop, secret)
    user(shop)
    assert visitor(shop, secret) is None
    shop.write(admins.remove, "ada")
    assert visitor(shop, secret) is None


def test_sessions_are_listed_and_ended_by_their_owner_only(shop: Shop) -> None:
    ada, bob = user(shop), user(shop, "bob")
    first, second, others = logged_in(shop, ada), logged_in(shop, ada), logged_in(shop, bob)
    assert {row.digest for row in shop.database.read(admins.sessions_of, "ada")} == {digest(first), digest(second)}
    assert shop.write(admins.close_one, "ada", digest(others)[: admins.SHOWN_DIGITS]) == 0
    assert shop.write(admins.close_one, "ada", "") == 0
    assert shop.write(admins.close_one, "ada", digest(first)[: admins.SHOWN_DIGITS]) == 1
    assert shop.write(admins.close_all, "ada", digest(second)) == 0
    assert shop.write(admins.close_all, "ada") == 1
    assert visitor(shop, others)


def test_the_sweep_forgets_what_has_ended_and_nothing_else(shop: Shop) -> None:
    secret = logged_in(shop, user(shop))
    shop.write(guesses.guess, ["name"])
    shop.write(admins.forget)
    shop.write(guesses.forget)
    assert visitor(shop, secret)
    assert shop.count(AdminGuess) == 1
    later(shop, seen=IDLE_SECONDS + 1, ends=100)
    shop.change("UPDATE admin_guess SET at = stockbell_now(-:ago)", ago=GUESS_SECONDS + 1)
    assert (shop.write(admins.forget), shop.write(guesses.forget)) == (1, 1)


def test_guesses_count_for_the_name_and_for_the_address(shop: Shop) -> None:
    for number in range(MOST_GUESSES):
        assert shop.write(guesses.guess, ["ada", f"net-{number}"]).wait == 0
    limited = shop.write(guesses.guess, ["ada", "elsewhere"])
    assert 0 < limited.wait <= GUESS_SECONDS
    assert not limited.ids
    assert shop.write(guesses.guess, ["bob", "elsewhere"]).wait == 0, "a refused guess counts for nobody"
    for number in range(MOST_GUESSES):
        shop.write(guesses.guess, [f"name-{number}", "one place"])
    assert shop.write(guesses.guess, ["carol", "one place"]).wait > 0


def test_a_right_guess_is_taken_back_and_frees_no_other(shop: Shop) -> None:
    for _ in range(MOST_GUESSES - 1):
        shop.write(guesses.guess, ["ada", "net"])
    right = shop.write(guesses.guess, ["bob", "net"])
    shop.write(guesses.take_back, right.ids)
    assert shop.count(AdminGuess) == 2 * (MOST_GUESSES - 1)
    assert shop.write(guesses.guess, ["ada", "net"]).wait == 0
    assert shop.write(guesses.guess, ["ada", "net"]).wait > 0


def test_guesses_count_for_a_quarter_of_an_hour(shop: Shop) -> None:
    for _ in range(MOST_GUESSES):
        shop.write(guesses.guess, ["ada"])
    shop.change("UPDATE admin_guess SET at = stockbell_now(-:ago)", ago=GUESS_SECONDS - 30)
    assert 0 < shop.database.read(guesses.wait, ["ada"]) <= 30
    shop.change("UPDATE admin_guess SET at = stockbell_now(-:ago)", ago=GUESS_SECONDS + 1)
    assert shop.database.read(guesses.wait, ["ada"]) == 0
