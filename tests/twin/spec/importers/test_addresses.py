from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.spec.importers.addresses import cluster_names, find_addresses, is_in_cluster


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("catalog:3550", [("catalog", 3550)]),
        ("http://cart:8080/x?a=b:9", [("cart", 8080)]),
        ("http://cart", [("cart", None)]),
        ("HTTP://Cart:80", [("cart", 80)]),
        ("jdbc:postgresql://orders-db:5432/orders?user=x", [("orders-db", 5432)]),
        ("jdbc:mysql:loadbalance://a:3306,b:3306/x", [("a", 3306), ("b", 3306)]),
        ("jdbc:oracle:thin:@db:1521:x", [("db", None)]),
        ("postgresql://u:p@ss@orders-db.shop.svc.cluster.local/o", [("orders-db.shop.svc.cluster.local", None)]),
        ("user:pw@tcp(orders-db:3306)/db", [("orders-db", 3306)]),
        ("mongodb://a:b@m-0.m:27017,m-1.m:27017/x", [("m-0.m", 27017), ("m-1.m", 27017)]),
        ("amqp://guest:guest@rabbit:5672/%2f", [("rabbit", 5672)]),
        ("redis://cache/0", [("cache", None)]),
        ("kafka-0:9092,kafka-1:9092", [("kafka-0", 9092), ("kafka-1", 9092)]),
        ("http://catalog,http://cart:80", [("catalog", None), ("cart", 80)]),
        ("host=orders-db port=5432", [("orders-db", None)]),
        ("--upstream=cart:80", [("cart", 80)]),
        ("zipkin.jaeger.svc.cluster.local", [("zipkin.jaeger.svc.cluster.local", None)]),
        ("https://api.example.com/v1", [("api.example.com", None)]),
        ("10.0.0.1:80", []),
        ("localhost:80", []),
        ("127.0.0.1:6379", []),
        ("nginx:1.25", []),
        ("12:30", []),
        ("cart:99999", []),
        ("-Xms64m -Djava.security.egd=file:/dev/urandom -Dx=false", []),
        ("true", []),
        ("", []),
    ],
)
def test_what_is_surely_an_address_is_found_in_any_form(text: str, expected: list[tuple[str, int | None]]) -> None:
    assert [(found.host, found.port) for found in find_addresses(text) if found.sure] == expected


def test_a_bare_name_may_be_an_address_and_says_so() -> None:
    (found,) = find_addresses("orders-db")
    assert (found.host, found.sure) == ("orders-db", False)


def test_names_are_looked_up_as_a_cluster_would() -> None:
    assert list(cluster_names("cart", "shop")) == [("shop", "cart")]
    assert next(cluster_names("cart.other", "shop")) == ("other", "cart")
    assert list(cluster_names("db-0.db.shop.svc.cluster.local", "x")) == [("shop", "db")]
    assert ("shop", "db") in list(cluster_names("db-0.db", "shop"))
    assert is_in_cluster("cart")
    assert is_in_cluster("cart.shop.svc")
    assert not is_in_cluster("api.example.com")


@pytest.mark.timeout(20)  # The guard is against minutes, not a measurement.
@pytest.mark.parametrize(
    "text", ["a:" * 9_000, "a." * 9_000, "tcp(" * 4_000, "://" * 6_000, "a@" * 9_000, "x" * 20_000]
)
def test_no_text_takes_long(text: str) -> None:
    find_addresses(text)


@given(st.text(max_size=60) | st.text("ab.:/@,()= -1", max_size=60))
def test_any_text_gives_names_that_a_cluster_could_hold(text: str) -> None:
    for found in find_addresses(text):
        assert found.host
        assert found.host == found.host.lower()
        assert found.port is None or 0 < found.port < 65_536 or found.port < 100_000
        list(cluster_names(found.host, "ns"))
