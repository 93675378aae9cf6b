"""The queue: cases in, claims out under a lease, one verdict a case and round, and a history that is only added to.

Who asks next gets, first, what becomes urgent (a quarter of its time is left), in the order in which it did; else what saves most a minute.
A claim ends with its lease: the case is somebody else's then, and a verdict under the old token is a `Conflict`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

from hallmark.errors import Conflict, DeclarationError, NotFound
from hallmark.files import digest_text
from hallmark.reviews import sampling
from hallmark.reviews.case import ASKED, DRAWN, Case, Claim, Event, Given, Verdict, Waiting
from hallmark.reviews.database import Database, Session

LEASE = 600.0
"""Seconds that a claim lasts where nobody asks for more."""
UNDO = 120.0
"""Seconds in which a verdict can be taken back, unless the person gives another before."""
RESERVE = 0.25
"""Share of a case's time that is left when it becomes urgent."""
_ROUNDS = 50
_TIDIED = 100
_PAGE = 500


class ReviewQueue:
    """The cases of one database, for any number of processes.

    clock: seconds of the epoch; this machine's, so those of several have to agree within seconds.
    second: share of the cases that two people see.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease: float = LEASE,
        undo: float = UNDO,
        second: float = sampling.SECOND,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._clock = database, clock
        self._lease, self._undo = lease, undo
        self._second = second
        self._salt = ""

    def open(self, case: Case) -> bool:
        """Put a case in; False where it is there. `Conflict` where the id is of a case that says something else."""
        with self._database.transaction() as session:
            return self.put(session, case)

    def put(self, session: Session, case: Case) -> bool:
        """`open` within a transaction of the caller's: many cases at once."""
        body = case.model_dump_json(exclude_defaults=True)
        digest = digest_text(body)
        new = session.run(
            "INSERT INTO cases (id, domain, source, opened, due, digest, body)"
            " VALUES (:id, :domain, :source, :opened, :due, :digest, :body) ON CONFLICT (id) DO NOTHING",
            id=case.id,
            domain=case.domain,
            source=case.source,
            opened=case.opened.timestamp(),
            due=case.due.timestamp(),
            digest=digest,
            body=body,
        )
        if not new:
            ((known,),) = session.all("SELECT digest FROM cases WHERE id = :id", id=case.id)
            if known != digest:
                raise Conflict(
                    f"case {case.id} is there, and says something else",
                    expected=f"the same case, {known[:19]}",
                    got=digest[:19],
                    fix="give another case another id",
                )
            return False
        self._enqueue(session, case, round=1, not_by="", opened=case.opened.timestamp(), due=case.due.timestamp())
        self._note(session, case.id, 1, "opened", "", case.source)
        return True

    def claim(self, who: str, *, domains: Collection[str] | None = None) -> Claim | None:
        """The next case for a person, or the one that they have; None where nothing is left for them.

        domains: only of these. Of a case that they gave a verdict on they get no second opinion. Where the database crashes it may forget
        a claim of its last second, as if the lease had ended; never a verdict.
        """
        person = _person(who)
        now = self._clock()
        with self._database.transaction(durable=False) as session:
            self._tidy(session, now)
            if held := self._held(session, person, domains):
                return held
            lanes = [
                number
                for number, domain, not_by in session.all("SELECT number, domain, not_by FROM lanes")
                if not_by != person and (domains is None or domain in domains)
            ]
            return self._first(session, person, lanes, now) if lanes else None

    def renew(self, token: str) -> Claim:
        """The same claim with a whole lease from now; `Conflict` where it has ended."""
        now = self._clock()
        with self._database.transaction() as session:
            number, *_ = self._live(session, token, now)
            session.run("UPDATE reviews SET lease = :lease WHERE number = :n", lease=now + self._lease, n=number)
            return self._claimed(session, number)

    def release(self, token: str) -> bool:
        """Put a case back; False, and nothing is changed, where the claim has ended."""
        with self._database.transaction() as session:
            found = session.all(
                "SELECT number, case_id, round, who FROM reviews WHERE token = :token AND state = 'claimed'",
                token=token,
            )
            for number, case, round_, who in found:
                self._free_again(session, number)
                self._note(session, case, round_, "put back", who, "")
        return bool(found)

    def give(self, token: str, verdict: Verdict, *, who: str) -> None:
        """Say what a claimed case is; the same once more changes nothing. `Conflict` where the claim has ended, or is another person's."""
        person, now = _person(who), self._clock()
        with self._database.transaction() as session:
            if self._same(session, token, verdict, person):
                return
            number, case, round_, holder, claimed = self._live(session, token, now)
            if holder != person:
                raise Conflict(
                    f"case {case} is claimed by somebody else",
                    expected=f"a verdict of {holder}",
                    got=f"one of {person}",
                    fix="claim a case of your own",
                )
            session.run(
                "UPDATE verdicts SET final = :now WHERE who = :who AND undone IS NULL AND settled = 0 AND final > :now",
                who=person,
                now=now,
            )
            told = verdict.model_copy(
                update={"seconds": round(min(verdict.seconds or now - claimed, now - claimed), 1)}
            )
            body = told.model_dump_json(exclude_defaults=True)
            session.run(
                "INSERT INTO verdicts (case_id, round, who, body, at, final) VALUES (:case, :round, :who, :body, :now, :final)",
                case=case,
                round=round_,
                who=person,
                body=body,
                now=now,
                final=now + self._undo,
            )
            session.run("UPDATE reviews SET state = 'judged' WHERE number = :n", n=number)
            self._note(session, case, round_, "verdict", person, body)

    def again(self, case_id: str) -> bool:
        """Have somebody else look at a case too; False where that is so already. `Conflict` before a first verdict is final.

        Such a case was chosen, so its two verdicts say nothing of how well people agree: its round is `ASKED`, not `DRAWN`.
        """
        now = self._clock()
        with self._database.transaction() as session:
            first = session.all(
                "SELECT who FROM verdicts WHERE case_id = :id AND round = 1 AND undone IS NULL AND final <= :now",
                id=case_id,
                now=now,
            )
            if not first:
                raise Conflict(
                    f"nobody has said yet what case {case_id} is",
                    expected="a case with a verdict that can no longer be taken back",
                    got="none",
                    fix="`hallmark reviews history` tells where it is",
                )
            if session.all("SELECT 1 FROM reviews WHERE case_id = :id AND round > 1", id=case_id):
                return False
            self._second_opinion(session, case_id, round=ASKED, not_by=first[0][0], now=now, told="asked for")
            return True

    def undo(self, who: str) -> Claim:
        """Take back the person's last verdict and give them its case again; what they have by now goes back. `Conflict` where it is final."""
        person, now = _person(who), self._clock()
        with self._database.transaction() as session:
            found = session.all(
                "SELECT v.number, v.case_id, v.round, r.number FROM verdicts AS v JOIN reviews AS r"
                " ON r.case_id = v.case_id AND r.round = v.round"
                " WHERE v.who = :who AND v.undone IS NULL AND v.settled = 0 AND v.final > :now ORDER BY v.number DESC LIMIT 1",
                who=person,
                now=now,
            )
            if not found:
                raise Conflict(
                    "there is no verdict to take back",
                    expected=f"one of {person} of the last {self._undo:.0f} s, and none after it",
                    got="none",
                    fix="tell the team that owns the domain; it can open the item as a new case",
                )
            verdict, case, round_, number = found[0]
            for other, other_case, other_round in session.all(
                "SELECT number, case_id, round FROM reviews WHERE who = :who AND state = 'claimed'", who=person
            ):
                self._free_again(session, other)
                self._note(session, other_case, other_round, "put back", person, "")
            session.run("UPDATE verdicts SET undone = :now WHERE number = :n", now=now, n=verdict)
            self._note(session, case, round_, "taken back", person, "")
            claim = self._give(session, number, person, now, state="judged")
            if claim is None:
                raise Conflict("this verdict is just being taken back", expected="one call at a time", got="two")
            return claim

    def last(self, who: str) -> Given | None:
        """The verdict that `undo` would take back now."""
        person, now = _person(who), self._clock()
        with self._database.transaction() as session:
            found = session.all(
                "SELECT v.number, v.round, v.body, v.at, c.body FROM verdicts AS v JOIN cases AS c ON c.id = v.case_id"
                " WHERE v.who = :who AND v.undone IS NULL AND v.settled = 0 AND v.final > :now ORDER BY v.number DESC LIMIT 1",
                who=person,
                now=now,
            )
        return next(
            (
                Given(
                    number=number,
                    case=Case.model_validate_json(case),
                    round=round_,
                    who=person,
                    verdict=Verdict.model_validate_json(body),
                    at=_time(at),
                    final=False,
                    sent=False,
                )
                for number, round_, body, at, case in found
            ),
            None,
        )

    def waiting(self, *, domain: str = "", limit: int = _PAGE) -> list[Waiting]:
        """Cases that wait or that somebody has, in the order in which they would be taken."""
        now = self._clock()
        with self._database.transaction() as session:
            self._tidy(session, now)
            rows = session.all(
                "SELECT r.round, r.value, r.urgent, r.state, r.who, r.lease, c.body FROM reviews AS r JOIN cases AS c ON c.id = r.case_id"
                " WHERE r.state IN ('open', 'claimed') AND (c.domain = :domain OR :domain = '')"
                " ORDER BY CASE WHEN r.urgent <= :now THEN 0 ELSE 1 END, CASE WHEN r.urgent <= :now THEN r.urgent ELSE -r.value END, r.number"
                " LIMIT :limit",
                domain=domain,
                now=now,
                limit=limit,
            )
        return [
            Waiting(
                id=case.id,
                domain=case.domain,
                item=case.item,
                round=round_,
                price=case.price,
                value=value,
                due=case.due,
                urgent=urgent <= now,
                who=who if state == "claimed" else "",
                lease=_time(lease) if state == "claimed" else None,
            )
            for round_, value, urgent, state, who, lease, body in rows
            for case in (Case.model_validate_json(body),)
        ]

    def domains(self) -> list[str]:
        """The domains that ever had a case here, sorted."""
        with self._database.transaction() as session:
            return sorted({str(domain) for (domain,) in session.all("SELECT DISTINCT domain FROM lanes")})

    def counts(self, *, domain: str = "") -> dict[str, int]:
        """How many reviews are open, claimed, judged, and open past their case's due."""
        now = self._clock()
        with self._database.transaction() as session:
            self._tidy(session, now)
            states = session.all(
                "SELECT r.state, COUNT(*) FROM reviews AS r JOIN cases AS c ON c.id = r.case_id"
                " WHERE c.domain = :domain OR :domain = '' GROUP BY r.state",
                domain=domain,
            )
            ((late,),) = session.all(
                "SELECT COUNT(*) FROM reviews AS r JOIN cases AS c ON c.id = r.case_id"
                " WHERE r.state <> 'judged' AND r.round = 1 AND c.due < :now AND (c.domain = :domain OR :domain = '')",
                domain=domain,
                now=now,
            )
        found = {str(state): int(count) for state, count in states}
        return {**{state: found.get(state, 0) for state in ("open", "claimed", "judged")}, "late": int(late)}

    def verdicts(self, *, domain: str = "", unsent: bool = False, after: int = 0) -> Iterator[Given]:
        """Verdicts that stand, in the order in which they were given.   unsent: only final ones whose label has gone nowhere yet.   after: with a higher number."""
        now = self._clock()
        more = " AND v.sent IS NULL AND v.final <= :now" if unsent else " AND :now = :now"
        while True:
            with self._database.transaction() as session:
                rows = session.all(
                    "SELECT v.number, v.round, v.who, v.body, v.at, v.final, v.sent, c.body, f.body FROM verdicts AS v"  # noqa: S608
                    " JOIN cases AS c ON c.id = v.case_id LEFT JOIN verdicts AS f"
                    " ON f.case_id = v.case_id AND f.round = 1 AND f.undone IS NULL AND v.round > 1 WHERE v.number > :after AND v.undone IS NULL"
                    f" AND (c.domain = :domain OR :domain = ''){more} ORDER BY v.number LIMIT {_PAGE}",
                    after=after,
                    domain=domain,
                    now=now,
                )
            for number, round_, who, body, at, final, sent, case, first in rows:
                yield Given(
                    number=number,
                    case=Case.model_validate_json(case),
                    round=round_,
                    who=who,
                    verdict=Verdict.model_validate_json(body),
                    at=_time(at),
                    final=final <= now,
                    sent=sent is not None,
                    first=Verdict.model_validate_json(first).word if first else None,
                )
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def sent(self, numbers: Sequence[int]) -> None:
        """Remember that the labels of these verdicts have arrived."""
        with self._database.transaction() as session:
            for number in numbers:
                session.run("UPDATE verdicts SET sent = :now WHERE number = :n", now=self._clock(), n=number)

    def case(self, id: str) -> Case:  # noqa: A002 - the case's own word
        """The case with this id; `NotFound` where there is none."""
        with self._database.transaction() as session:
            found = session.all("SELECT body FROM cases WHERE id = :id", id=id)
        if not found:
            raise NotFound(
                f"there is no case {id}", expected="one that was opened", got=repr(id), fix="`hallmark reviews list`"
            )
        return Case.model_validate_json(found[0][0])

    def history(self, id: str) -> list[Event]:  # noqa: A002 - the case's own word
        """What happened to a case, in order."""
        with self._database.transaction() as session:
            rows = session.all(
                "SELECT number, at, case_id, round, what, who, told FROM history WHERE case_id = :id ORDER BY number",
                id=id,
            )
        names = ("number", "at", "case", "round", "what", "who", "told")
        return [Event.model_validate({**dict(zip(names, row, strict=True)), "at": _time(row[1])}) for row in rows]

    def kept(self, *, since: float) -> Iterator[Case]:
        """Cases that somebody may still look at: open, with a verdict that is not settled, or with one that was given since (seconds of the epoch)."""
        now, after = self._clock(), ""
        while True:
            with self._database.transaction() as session:
                self._tidy(session, now)
                rows = session.all(
                    "SELECT c.id, CASE WHEN EXISTS (SELECT 1 FROM reviews AS r WHERE r.case_id = c.id AND r.state <> 'judged')"  # noqa: S608
                    " OR EXISTS (SELECT 1 FROM verdicts AS v WHERE v.case_id = c.id AND v.undone IS NULL AND (v.settled = 0 OR v.at >= :since))"
                    f" THEN c.body END FROM (SELECT id, body FROM cases WHERE id > :after ORDER BY id LIMIT {_PAGE}) AS c ORDER BY c.id",
                    after=after,
                    since=since,
                )
            for _, body in rows:
                if body is not None:
                    yield Case.model_validate_json(body)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def held(self, who: str, *, domains: Collection[str] | None = None) -> Claim | None:
        """The case that a person has now."""
        person, now = _person(who), self._clock()
        with self._database.transaction() as session:
            self._tidy(session, now)
            return self._held(session, person, domains)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def _held(self, session: Session, person: str, domains: Collection[str] | None) -> Claim | None:
        found = session.all(
            "SELECT r.number, c.domain FROM reviews AS r JOIN cases AS c ON c.id = r.case_id"
            " WHERE r.who = :who AND r.state = 'claimed' ORDER BY r.claimed",
            who=person,
        )
        mine = [number for number, domain in found if domains is None or domain in domains]
        return self._claimed(session, mine[0]) if mine else None

    def _first(self, session: Session, person: str, lanes: list[int], now: float) -> Claim | None:
        """The first review that nobody else is just taking: of what is urgent, else of what saves most a minute."""
        urgent = self._database.heads("each.urgent, each.number", "each.urgent <= :now").format(
            "0 AS later, r.urgent AS place, r.number AS number"
        )
        rest = self._database.heads("each.value DESC, each.number", "1 = 1").format(
            "1 AS later, -r.value AS place, r.number AS number"
        )
        found = f"{urgent} UNION ALL {rest} ORDER BY later, place, number"
        for _ in range(_ROUNDS):
            heads = session.all(found, lanes=self._database.listed(lanes), now=now)
            if not heads:
                return None
            for *_, number in heads:
                if claim := self._give(session, int(number), person, now):
                    return claim
        return None

    def _give(self, session: Session, number: int, person: str, now: float, *, state: str = "open") -> Claim | None:
        """A review in this state to a person; None where it no longer is, or somebody else is just taking it."""
        token, lease = secrets.token_hex(18), now + self._lease  # no -, which would begin an option
        found = session.all(
            "UPDATE reviews SET state = 'claimed', token = :token, who = :who, claimed = :now, lease = :lease WHERE number ="  # noqa: S608
            f" (SELECT number FROM reviews WHERE number = :n AND state = :state{self._database.lock})"
            " RETURNING round, case_id",
            token=token,
            who=person,
            now=now,
            lease=lease,
            n=number,
            state=state,
        )
        for round_, case_id in found:
            # Not a subquery of RETURNING: SQLite reads all cases for one, since its columns have no type there, so that no index of texts serves.
            ((body,),) = session.all("SELECT body FROM cases WHERE id = :id", id=case_id)
            case = Case.model_validate_json(body)
            self._note(session, case.id, round_, "claimed", person, "")
            return Claim(token=token, who=person, case=case, claimed=_time(now), lease=_time(lease))
        return None

    def _same(self, session: Session, token: str, verdict: Verdict, person: str) -> bool:
        """Was just this said under this token before?"""
        found = session.all(
            "SELECT v.body FROM reviews AS r JOIN verdicts AS v ON v.case_id = r.case_id AND v.round = r.round"
            " WHERE r.token = :token AND r.state = 'judged' AND v.undone IS NULL AND v.who = :who",
            token=token,
            who=person,
        )
        return any(Verdict.model_validate_json(body).said == verdict.said for (body,) in found)

    def _claimed(self, session: Session, number: int) -> Claim:
        ((token, who, claimed, lease, body),) = session.all(
            "SELECT r.token, r.who, r.claimed, r.lease, c.body FROM reviews AS r JOIN cases AS c ON c.id = r.case_id WHERE r.number = :n",
            n=number,
        )
        case = Case.model_validate_json(body)
        return Claim(token=token, who=who, case=case, claimed=_time(claimed), lease=_time(lease))

    def _live(self, session: Session, token: str, now: float) -> tuple[int, str, int, str, float]:
        """Number, case, round, person and beginning of a claim that has not ended."""
        lock = self._database.lock.removesuffix(" SKIP LOCKED")
        found = session.all(
            f"SELECT number, case_id, round, who, claimed, state, lease FROM reviews WHERE token = :token{lock}",  # noqa: S608
            token=token,
        )
        if not found or found[0][5] != "claimed" or found[0][6] <= now:
            raise Conflict(
                "this claim has ended, so nothing was changed",
                expected="a token whose lease runs",
                got="one that is not known"
                if not found
                else "a verdict was given"
                if found[0][5] == "judged"
                else "its lease is over",
                fix="claim the next case: this one is somebody else's, or comes again",
            )
        number, case, round_, who, claimed = found[0][:5]
        return int(number), str(case), int(round_), str(who), float(claimed)

    def _free_again(self, session: Session, number: int) -> None:
        session.run(
            "UPDATE reviews SET state = 'open', token = NULL, who = NULL, claimed = NULL, lease = NULL WHERE number = :n",
            n=number,
        )

    def _enqueue(self, session: Session, case: Case, *, round: int, not_by: str, opened: float, due: float) -> None:  # noqa: A002 - the domain's word
        session.run(
            "INSERT INTO lanes (domain, not_by) VALUES (:domain, :by) ON CONFLICT (domain, not_by) DO NOTHING",
            domain=case.domain,
            by=not_by,
        )
        session.run(
            "INSERT INTO reviews (case_id, round, lane, value, urgent) VALUES (:case, :round,"
            " (SELECT number FROM lanes WHERE domain = :domain AND not_by = :by), :value, :urgent)"
            " ON CONFLICT (case_id, round) DO NOTHING",
            case=case.id,
            round=round,
            domain=case.domain,
            by=not_by,
            value=case.value,
            urgent=due - RESERVE * (due - opened),
        )

    def _second_opinion(
        self,
        session: Session,
        case_id: str,
        *,
        round: int,  # noqa: A002 - the domain's word
        not_by: str,
        now: float,
        told: str,
    ) -> None:
        """Open a case to everybody but one person, with as much time as it had at first."""
        ((body,),) = session.all("SELECT body FROM cases WHERE id = :id", id=case_id)
        case = Case.model_validate_json(body)
        due = now + (case.due - case.opened).total_seconds()
        self._enqueue(session, case, round=round, not_by=not_by, opened=now, due=due)
        self._note(session, case_id, round, "opened", "", told)

    def _tidy(self, session: Session, now: float) -> None:
        """Claims that ended are free again; verdicts that are final open the second opinions that chance draws."""
        ((due,),) = session.all(
            "SELECT EXISTS (SELECT 1 FROM reviews WHERE state = 'claimed' AND lease <= :now)"
            " OR EXISTS (SELECT 1 FROM verdicts WHERE settled = 0 AND undone IS NULL AND final <= :now)",
            now=now,
        )
        if not due:
            return
        for number, case, round_, who in session.all(
            "SELECT number, case_id, round, who FROM reviews WHERE state = 'claimed' AND lease <= :now"  # noqa: S608
            f" ORDER BY lease LIMIT {_TIDIED}{self._database.lock}",
            now=now,
        ):
            self._free_again(session, number)
            self._note(session, case, round_, "lease ended", who, "")
        for number, case_id, round_, who in session.all(
            "SELECT number, case_id, round, who FROM verdicts WHERE settled = 0 AND undone IS NULL AND final <= :now"  # noqa: S608
            f" ORDER BY final LIMIT {_TIDIED}{self._database.lock}",
            now=now,
        ):
            session.run("UPDATE verdicts SET settled = 1 WHERE number = :n", n=number)
            self._know_salt(session)
            if round_ == 1 and sampling.drawn("second opinion", case_id, self._second, salt=self._salt):
                self._second_opinion(session, case_id, round=DRAWN, not_by=who, now=now, told="second opinion")

    def _know_salt(self, session: Session) -> None:
        if not self._salt:
            ((self._salt,),) = session.all("SELECT value FROM salt")

    def _note(self, session: Session, case: str, round: int, what: str, who: str, told: str) -> None:  # noqa: A002 - the domain's word
        session.run(
            "INSERT INTO history (at, case_id, round, what, who, told) VALUES (:at, :case, :round, :what, :who, :told)",
            at=self._clock(),
            case=case,
            round=round,
            what=what,
            who=who,
            told=told,
        )


def _person(who: str) -> str:
    """The name, once it is one."""
    name = who.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise DeclarationError(
            "nobody is named", expected="a person, by name or address", got=repr(who[:50]), fix="such as --as ana"
        )
    return name


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
