"""What every database of the queue has to do; test_sqlite.py and test_postgres.py run it on theirs."""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.errors import Conflict, DeclarationError, HallmarkError, NotFound, Unavailable
from hallmark.reviews import sampling
from hallmark.reviews.case import Case, Reason, Verdict, Word
from hallmark.reviews.database import Database, connect
from hallmark.reviews.queue import LEASE, UNDO, ReviewQueue
from hallmark.reviews.report import report
from tests.hallmark.reviews.cases import Clock, case
from tests.seeds import how_many

REAL = Verdict(word=Word.authentic)
FAKE = Verdict(word=Word.counterfeit, reason=Reason.stitching, note="two stitches too many", seconds=40)
Made = Callable[..., ReviewQueue]


class QueueContract:
    """A subclass gives a fixture `address`: of an empty database."""

    @pytest.fixture
    def database(self, address: str) -> Iterator[Database]:
        made = connect(address)
        yield made
        made.close()

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def made(self, database: Database, clock: Clock) -> Made:
        def make(**given: Any) -> ReviewQueue:
            return ReviewQueue(database, clock=clock, **{"second": 0.0, **given})

        return make

    @pytest.fixture
    def queue(self, made: Made) -> ReviewQueue:
        return made()

    def judge(self, queue: ReviewQueue, who: str, verdict: Verdict = REAL) -> Case | None:
        claim = queue.claim(who)
        if claim is None:
            return None
        queue.give(claim.token, verdict, who=who)
        return claim.case

    def test_a_case_is_opened_once_and_another_under_its_id_is_refused(self, queue: ReviewQueue) -> None:
        assert queue.open(case("a")) and not queue.open(case("a"))
        with pytest.raises(Conflict, match="says something else"):
            queue.open(case("a", price=501.0))
        assert queue.counts() == {"open": 1, "claimed": 0, "judged": 0, "late": 0}
        assert queue.case("a") == case("a")
        with pytest.raises(NotFound, match="no case b"):
            queue.case("b")

    def test_the_5000_eur_bag_comes_before_the_50_eur_belt(self, queue: ReviewQueue) -> None:
        queue.open(case("belt", price=50.0))
        queue.open(case("bag", price=5000.0))
        queue.open(case("slow", price=5000.0, minutes=1000.0))
        assert [each.id for each in queue.waiting()] == ["bag", "belt", "slow"]
        taken = [self.judge(queue, who) for who in ("ana", "ben", "cem")]
        assert [each.id for each in taken if each] == ["bag", "belt", "slow"]
        assert self.judge(queue, "ana") is None

    def test_a_case_is_one_persons_and_they_have_one(self, queue: ReviewQueue) -> None:
        queue.open(case("a"))
        mine = queue.claim("ana")
        assert mine is not None and queue.claim("ben") is None
        again = queue.claim("ana")
        assert again == mine == queue.held("ana") and queue.held("ben") is None

    def test_a_case_returns_after_its_lease_and_a_late_verdict_is_refused(
        self, queue: ReviewQueue, clock: Clock
    ) -> None:
        queue.open(case("a"))
        first = queue.claim("ana")
        assert first is not None
        clock.seconds = LEASE + 1
        with pytest.raises(Conflict, match="ended"):
            queue.give(first.token, REAL, who="ana")
        second = queue.claim("ben")
        assert second is not None and second.case == first.case and second.token != first.token
        for late in (
            lambda: queue.give(first.token, FAKE, who="ana"),
            lambda: queue.give(first.token, FAKE, who="ben"),
            lambda: queue.renew(first.token),
        ):
            with pytest.raises(Conflict):
                late()
        queue.give(second.token, REAL, who="ben")
        assert [(each.who, each.verdict.word) for each in queue.verdicts()] == [("ben", Word.authentic)]
        told = [(each.what, each.who) for each in queue.history("a")]
        assert told == [
            ("opened", ""),
            ("claimed", "ana"),
            ("lease ended", "ana"),
            ("claimed", "ben"),
            ("verdict", "ben"),
        ]

    def test_it_knows_the_domains_that_ever_had_a_case(self, queue: ReviewQueue) -> None:
        assert queue.domains() == []
        for name, domain in (("a", "shoes"), ("b", "bags"), ("c", "shoes")):
            queue.open(case(name, domain=domain))
        while claim := queue.claim("ana"):
            queue.give(claim.token, FAKE, who="ana")
        assert queue.domains() == ["bags", "shoes"]

    def test_a_token_is_no_option_of_a_command(self, queue: ReviewQueue) -> None:
        for number in range(20):
            queue.open(case(f"c{number}"))
            claim = queue.claim(f"person {number}")
            assert claim is not None and claim.token.isalnum() and len(claim.token) >= 32

    def test_a_lease_can_be_renewed_and_a_case_put_back(self, queue: ReviewQueue, clock: Clock) -> None:
        queue.open(case("a"))
        mine = queue.claim("ana")
        assert mine is not None
        clock.seconds = LEASE - 1
        assert (queue.renew(mine.token).lease - mine.lease).total_seconds() == pytest.approx(LEASE - 1)
        clock.seconds = 2 * LEASE - 2
        assert queue.claim("ben") is None
        assert queue.release(mine.token)
        assert not queue.release(mine.token) and not queue.release("unknown")
        assert [each.what for each in queue.history("a")].count("put back") == 1
        his = queue.claim("ben")
        assert his is not None and not queue.release(mine.token)
        queue.give(his.token, FAKE, who="ben")
        assert not queue.release(his.token), "a verdict was given"
        with pytest.raises(Conflict, match="ended"):
            queue.give(mine.token, REAL, who="ana")

    def test_the_same_verdict_once_more_changes_nothing_and_another_is_refused(self, queue: ReviewQueue) -> None:
        queue.open(case("a"))
        claim = queue.claim("ana")
        assert claim is not None
        queue.give(claim.token, FAKE, who="ana")
        queue.give(claim.token, FAKE.model_copy(update={"seconds": 41.0}), who="ana")
        with pytest.raises(Conflict, match="a verdict was given"):
            queue.give(claim.token, REAL, who="ana")
        assert [each.verdict.said for each in queue.verdicts()] == [FAKE.said]

    def test_a_token_is_of_whoever_claimed(self, queue: ReviewQueue) -> None:
        queue.open(case("a"))
        claim = queue.claim("ana")
        assert claim is not None
        with pytest.raises(Conflict, match="claimed by somebody else"):
            queue.give(claim.token, REAL, who="ben")
        for nobody in ("", "  ", "a\nb", "x" * 201):
            with pytest.raises(DeclarationError, match="nobody is named"):
                queue.claim(nobody)

    def test_seconds_are_no_more_than_since_the_claim(self, queue: ReviewQueue, clock: Clock) -> None:
        for name in ("a", "b"):
            queue.open(case(name))
        for seconds, said in ((20.0, 3600.0), (30.0, 12.0)):
            claim = queue.claim("ana")
            assert claim is not None
            clock.seconds += seconds
            queue.give(claim.token, FAKE.model_copy(update={"seconds": said}), who="ana")
        assert [each.verdict.seconds for each in queue.verdicts()] == [20.0, 12.0]

    def test_the_last_verdict_can_be_taken_back_until_the_next_one(self, queue: ReviewQueue, clock: Clock) -> None:
        for name in ("a", "b", "c"):
            queue.open(case(name))
        self.judge(queue, "ana", FAKE)
        held = queue.claim("ana")
        assert held is not None and held.case.id == "b"
        back = queue.undo("ana")
        assert back.case.id == "a" and queue.held("ana") == back
        with pytest.raises(Conflict):
            queue.give(held.token, REAL, who="ana")
        queue.give(back.token, REAL, who="ana")
        assert [(each.case.id, each.verdict.word, each.final) for each in queue.verdicts()] == [
            ("a", Word.authentic, False)
        ]
        self.judge(queue, "ana")
        assert queue.undo("ana").case.id == "b"
        with pytest.raises(Conflict, match="no verdict to take back"):
            queue.undo("ana")
        self.judge(queue, "ana")
        clock.seconds += UNDO
        with pytest.raises(Conflict, match="no verdict to take back"):
            queue.undo("ana")
        with pytest.raises(Conflict, match="no verdict to take back"):
            queue.undo("ben")
        assert [each.what for each in queue.history("a")][-4:] == ["verdict", "taken back", "claimed", "verdict"]
        assert all(each.final for each in queue.verdicts())

    def test_5_percent_are_seen_by_two_people_of_whom_the_second_is_another(
        self, made: Made, database: Database, clock: Clock
    ) -> None:
        queue = made(second=0.3)
        names = [f"case-{number}" for number in range(40)]
        salt = salt_of(database)
        expected = {name for name in names if sampling.drawn("second opinion", name, 0.3, salt=salt)}
        for name in names:
            queue.open(case(name))
        while self.judge(queue, "ana", FAKE):
            pass
        clock.seconds += UNDO
        assert queue.claim("ana") is None, "not to whoever gave the first"
        second = set()
        while (claim := queue.claim("ben")) is not None:
            assert "two stitches" not in claim.model_dump_json(), "the first verdict is not told"
            second.add(claim.case.id)
            queue.give(claim.token, REAL, who="ben")
        assert second == expected and 1 <= len(expected) <= 30
        clock.seconds += UNDO
        assert queue.claim("cem") is None, "a second opinion is the last"
        assert Counter(each.round for each in queue.verdicts()) == {1: 40, 2: len(expected)}

    def test_a_verdict_that_may_be_taken_back_asks_for_no_second_opinion(self, made: Made, clock: Clock) -> None:
        queue = made(second=1.0)
        queue.open(case("a"))
        self.judge(queue, "ana")
        assert queue.claim("ben") is None
        clock.seconds += UNDO
        claim = queue.claim("ben")
        assert claim is not None and claim.case.id == "a"

    def test_a_second_opinion_that_is_asked_for_is_somebody_elses_and_tells_nothing_of_how_well_people_agree(
        self, made: Made, clock: Clock
    ) -> None:
        queue = made(second=0.0)
        queue.open(case("a"))
        with pytest.raises(Conflict, match="nobody has said yet"):
            queue.again("a")
        self.judge(queue, "ana", FAKE)
        with pytest.raises(Conflict, match="nobody has said yet"):
            queue.again("a")
        clock.seconds += UNDO
        assert [queue.again("a"), queue.again("a")] == [True, False]
        assert queue.claim("ana") is None, "not to whoever gave the first"
        claim = queue.claim("ben")
        assert claim is not None and claim.case.id == "a"
        queue.give(claim.token, REAL, who="ben")
        clock.seconds += UNDO
        first, second = queue.verdicts()
        assert (first.label, second.label, second.first, second.drawn) == (1, None, Word.counterfeit, False)
        found = report(queue)
        assert found.agreement is None and found.disputed == ("a",)
        assert not queue.again("a"), "a second opinion is the last"

    def test_who_names_cases_cannot_know_which_are_drawn(
        self, made: Made, database: Database, address: str, clock: Clock
    ) -> None:
        """By a secret of the queue's own: the same in every process and after a restart, and another in another queue."""
        salt = salt_of(database)
        again = connect(address)
        assert len(salt) == 64 and salt_of(again) == salt
        again.close()
        names = [f"item-{number}" for number in range(32)]
        dodging = [each for each in names if not sampling.drawn("second opinion", each, 0.5, salt="what they guess")]
        queue = made(second=0.5)
        for name in dodging:
            queue.open(case(name, price=1.0))
            self.judge(queue, "ana")
        clock.seconds += UNDO
        queue.counts()
        drawn = {each.id for each in queue.waiting()}
        assert drawn == {name for name in dodging if sampling.drawn("second opinion", name, 0.5, salt=salt)}
        assert drawn, "a guessed salt dodges nothing"
        with pytest.raises(HallmarkError), database.transaction() as session:
            session.run("INSERT INTO salt (one, value) VALUES (2, 'another')")

    def test_a_queue_from_before_the_salt_gets_one(self, queue: ReviewQueue, database: Database, address: str) -> None:
        queue.open(case("a"))
        with database.transaction() as session:
            session.run("DROP TABLE salt")
        database.close()
        later = connect(address)
        assert len(salt_of(later)) == 64 and ReviewQueue(later).case("a") == case("a")
        later.close()

    def test_only_ones_own_domains_are_given(self, queue: ReviewQueue) -> None:
        queue.open(case("a"))
        queue.open(case("b", domain="listing", price=1.0))
        claim = queue.claim("ana", domains={"listing"})
        assert claim is not None and claim.case.id == "b"
        assert queue.claim("ben", domains=set()) is None
        assert queue.counts(domain="listing") == {"open": 0, "claimed": 1, "judged": 0, "late": 0}
        assert [each.id for each in queue.waiting(domain="authentication")] == ["a"]

    def test_nothing_starves_past_its_time_while_people_keep_up(self, queue: ReviewQueue, clock: Clock) -> None:
        """Twenty belts, and bags for four fifths of the time there is: by value alone, two belts would be past theirs."""
        chance = random.Random(17)
        for number in range(20):
            queue.open(case(f"belt-{number}", price=5.0, hours=3.0))
        taken: list[str] = []
        late: list[str] = []
        for minute in range(0, 183, 3):
            clock.seconds = 60.0 * minute
            if chance.random() < 0.8:
                queue.open(case(f"bag-{minute}", price=5000.0, opened=clock.now, hours=3.0))
            judged = self.judge(queue, f"p{minute}")
            if judged:
                taken.append(judged.id)
                late += [judged.id] if judged.due < clock.now else []
        assert sum(each.startswith("belt") for each in taken) == 20 and not late
        before = [each for each in taken[:40] if each.startswith("bag")]
        assert len(before) > 25, "until they are urgent, bags go first"

    def test_a_cheap_case_goes_first_when_a_quarter_of_its_time_is_left(self, queue: ReviewQueue, clock: Clock) -> None:
        queue.open(case("belt", price=50.0, hours=4.0))
        queue.open(case("bag", price=5000.0, hours=24.0))
        clock.seconds = 3 * 3600 - 1
        assert [each.id for each in queue.waiting()] == ["bag", "belt"]
        clock.seconds = 3 * 3600
        assert [(each.id, each.urgent) for each in queue.waiting()] == [("belt", True), ("bag", False)]
        claim = queue.claim("ana")
        assert claim is not None and claim.case.id == "belt"
        clock.seconds = 4 * 3600 + 1
        assert queue.counts()["late"] == 1

    def test_labels_that_have_arrived_are_not_sent_again(self, queue: ReviewQueue, clock: Clock) -> None:
        for name in ("a", "b"):
            queue.open(case(name))
        self.judge(queue, "ana")
        assert not list(queue.verdicts(unsent=True)), "it may be taken back yet"
        self.judge(queue, "ana", FAKE)
        (first,) = queue.verdicts(unsent=True)
        queue.sent([first.number])
        clock.seconds += UNDO
        assert [each.case.id for each in queue.verdicts(unsent=True)] == ["b"]
        assert [each.sent for each in queue.verdicts()] == [True, False]

    def test_history_is_only_added_to(self, queue: ReviewQueue, database: Database) -> None:
        queue.open(case("a"))
        for statement in ("UPDATE history SET who = 'x'", "DELETE FROM history"):
            with pytest.raises(HallmarkError, match="does not answer"), database.transaction() as session:
                session.run(statement)
        assert [each.what for each in queue.history("a")] == ["opened"]

    def test_two_verdicts_of_one_case_are_kept_out_by_the_database_itself(
        self, queue: ReviewQueue, database: Database
    ) -> None:
        queue.open(case("a"))
        self.judge(queue, "ana")
        again = "INSERT INTO verdicts (case_id, round, who, body, at, final) VALUES ('a', 1, 'ben', '{}', 0, 0)"
        with pytest.raises(HallmarkError), database.transaction() as session:
            session.run(again)
        assert [each.who for each in queue.verdicts()] == ["ana"]

    @pytest.mark.slow
    @pytest.mark.many
    @pytest.mark.timeout(1800)
    def test_no_case_gets_two_verdicts_while_people_race_leave_and_are_killed(self, address: str) -> None:
        """Fault 46: in small here, and the whole of it in `make long`."""
        cases = how_many(150, 10_000)
        queue = ReviewQueue(connect(address), second=0.0)
        for number in range(cases):
            queue.open(case(f"c{number}"))
        chance, said = random.Random(46), list[str]()
        waited, killed, running, names = 0, 0, list[subprocess.Popen[str]](), itertools.count()
        try:
            while True:
                while len(running) < 4:
                    running.append(_racer(address, f"p{next(names)}"))
                time.sleep(0.3 + 0.7 * chance.random())
                if killed < max(3, cases // 100):
                    chance.choice(running).kill()
                    killed += 1
                for each in [each for each in running if each.poll() is not None]:
                    running.remove(each)
                    told, complaints = each.communicate()
                    assert "Traceback" not in complaints, complaints
                    waited += complaints.count("does not answer")
                    said += told.splitlines()
                with contextlib.suppress(Unavailable):  # a busy machine's: what was done is looked at below
                    if queue.counts()["judged"] == cases:
                        break
        finally:
            for each in running:
                each.kill()
                said += each.communicate()[0].splitlines()
        found = list(queue.verdicts())
        stands = {each.case.id: each.who for each in found}
        assert len(found) == len(stands) == cases, "one verdict a case"
        acknowledged = [line.split() for line in said if len(line.split()) == 2]
        assert {(case_id, who) for case_id, who in acknowledged} <= set(stands.items()), (
            "none that was acknowledged is lost"
        )
        for name in list(stands)[:: max(1, cases // 100)]:
            assert [each.what for each in queue.history(name)].count("verdict") == 1
        sys.stderr.write(
            f"{cases} cases, {killed} processes killed, {len(acknowledged)} acknowledged, {waited} waits given up\n"
        )

    def test_a_case_is_kept_while_it_is_open_or_may_be_again_and_after_its_verdict_for_a_while(
        self, made: Made, clock: Clock
    ) -> None:
        queue = made(second=1.0)
        for name in ("a", "b"):
            queue.open(case(name))
        assert self.judge(queue, "ana") == case("a")

        def kept(days: float) -> list[str]:
            return sorted(each.id for each in queue.kept(since=clock() - days * 86_400.0))

        clock.seconds += 2 * 86_400.0
        assert kept(1) == ["a", "b"], "its second opinion is open"
        assert [self.judge(queue, "ben") for _ in range(2)] == [case("b"), case("a")]
        clock.seconds += 2 * 86_400.0
        assert kept(1) == ["b"] and kept(3) == ["a", "b"]
        assert self.judge(queue, "ana") == case("b")
        queue.undo("ana")
        clock.seconds += 9 * 86_400.0
        assert kept(1) == ["b"], "what was taken back is open"

    def test_any_number_of_cases_is_looked_through(self, queue: ReviewQueue, database: Database) -> None:
        with database.transaction() as session:
            for number in range(1203):
                queue.put(session, case(f"c{number}"))
        assert len({each.id for each in queue.kept(since=0.0)}) == 1203


def salt_of(database: Database) -> str:
    """What a queue draws by."""
    with database.transaction() as session:
        ((salt,),) = session.all("SELECT value FROM salt")
    return str(salt)


def _racer(address: str, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.hallmark.reviews.racing", address, name],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
