"""A member that fails is left alone for longer and longer, and asked again when it is well."""

from ouvert.engine.pool.breaker import LONGEST_REST, Breaker, Patience

PATIENCE = Patience(failures=3, rest=5.0)


def test_a_member_is_out_after_some_failures_in_a_row():
    breaker = Breaker()
    for n in range(2):
        breaker = breaker.failed(f"failure {n}", 10.0, PATIENCE)
        assert breaker.open
    breaker = breaker.failed("the third", 10.0, PATIENCE)
    assert not breaker.open
    assert breaker.why == "the third"
    assert (breaker.due(14.9), breaker.due(15.0)) == (False, True)


def test_what_is_not_what_it_should_be_is_out_at_once():
    assert not Breaker().refused("another model", 0.0, PATIENCE).open


def test_it_rests_longer_each_time_it_fails_again():
    breaker, now, rests = Breaker().refused("gone", 0.0, PATIENCE), 0.0, []
    for _ in range(12):
        assert breaker.until is not None
        rests.append(breaker.until - now)
        now = breaker.until
        breaker = breaker.failed("still gone", now, PATIENCE)
    assert rests[:4] == [5.0, 10.0, 20.0, 40.0]
    assert rests[-1] == LONGEST_REST
