"""Which replica has which name."""

from ouvert.cli.replicas.places import Place, Places


def place(replica, port=1):
    return Place(replica=replica, url=f"http://127.0.0.1:{port}", key="k")


def named(places):
    return {name: each.replica for name, each in places.every.items()}


def test_each_replica_gets_a_name_and_saying_the_same_again_is_no_news():
    places = Places(2)
    assert places.heard(place("a"), 1.0)
    assert places.heard(place("b"), 1.1)
    assert not places.heard(place("a"), 2.0)
    assert named(places) == {"replica-1": "a", "replica-2": "b"}


def test_a_replica_that_comes_for_one_that_is_silent_gets_its_name():
    places = Places(2)
    for when, replica in enumerate(("a", "b", "a", "b", "b", "b")):
        places.heard(place(replica), float(when))
    assert places.heard(place("c"), 6.0)
    assert named(places) == {"replica-1": "c", "replica-2": "b"}


def test_a_replica_at_another_address_keeps_its_name():
    places = Places(2)
    places.heard(place("a"), 1.0)
    assert places.heard(place("a", port=2), 2.0)
    assert places.every["replica-1"].url.endswith(":2")
    assert set(places.every) == {"replica-1"}
