"""20,000 failed: what was previewed is retried once, though the web process is killed in the middle."""

from uuid import UUID, uuid4

from tests.acceptance.stockbell import Stockbell
from tests.contract.shop import MUG, Shop, shop_at
from tests.polling import eventually
from tests.ports import free_port
from worker.models import Status
from worker.services import acting
from worker.services.selection import Selection
from worker.store import actions, requests
from worker.store.requests import NewRequest

NUMBER = 20_000


def failed(shop: Shop, number: int) -> set[UUID]:
    new = [NewRequest(f"{uuid4().hex}@example.com", MUG) for _ in range(number)]
    added = {id_ for start in range(0, number, 500) for id_ in shop.write(requests.create, new[start : start + 500])}
    shop.change(
        """UPDATE request SET status = 'FAILED', failure_code = 'RETRIES_EXHAUSTED', failure_reason = '450 full',
        failed_at = stockbell_now(0) WHERE status = 'RECEIVED'"""
    )
    return added


def test_an_action_whose_process_is_killed_is_finished_by_the_next(stockbell: Stockbell) -> None:
    with shop_at(stockbell.environment["DATABASE_URL"]) as shop:
        meant = failed(shop, NUMBER)
        action = shop.write(acting.preview, "ada", "retry", Selection(status=Status.FAILED))
        foreseen = shop.database.read(actions.get, action)
        assert foreseen
        assert foreseen.foreseen["would"] == NUMBER
        failed(shop, 500)
        assert shop.write(acting.confirm, action, "ada", "20,000") is acting.Answer.DONE

        def now() -> actions.Action:
            found = shop.database.read(actions.get, action)
            assert found
            return found

        first = stockbell.start("web", "--serve", "admin", "--port", str(free_port()))
        eventually(lambda: now().changed > 0)
        first.kill()
        first.wait()
        done_before = now()
        assert done_before.state == "running"
        assert 0 < done_before.changed < NUMBER
        stockbell.start("web", "--serve", "admin", "--port", str(free_port()))
        eventually(lambda: now().state == "done", 120)
        retried = {row.id for row in shop.ask("SELECT id FROM request WHERE status = 'RECEIVED'", id="uuid")}
        noted = {row.id for row in shop.ask("SELECT request_id AS id FROM action_request", id="uuid")}
        assert retried == noted == meant
        assert (now().changed, now().refused) == (NUMBER, 0)
