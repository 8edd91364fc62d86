"""The adapter against a server that answers by a script: what is tried again, what is never, and what is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.kube.api import BACKOFF_S, CONFLICT_TRIES, LiveKubeApi
from twin.kube.transport import Answer
from twin.spec.errors import (
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    Overtaken,
    TooManyRequests,
    Unprocessable,
    Unreachable,
)
from twin.spec.fields import container_path
from twin.spec.plan import ObjectRef

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
REPLICAS = ("spec", "replicas")


def cart(version: int = 7, *, generation: int = 1, **spec: Any) -> dict[str, Any]:
    container = {"name": "cart", "image": "cart:v1", "env": [{"name": "A", "value": "1"}]}
    template = {"spec": {"containers": [{"name": "sidecar", "image": "s:v1"}, container]}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "cart", "namespace": "shop", "resourceVersion": str(version), "generation": generation},
        "spec": {"replicas": 3, "template": template, **spec},
    }  # fmt: skip


class Scripted:
    """Answers in order, whatever is asked; an exception is raised. Keeps what was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Mapping[str, str], Any]] = []
        self.slept: list[float] = []

    def send(
        self, method: str, path: str, *, query: Mapping[str, str], body: Any = None, content_type: str = ""
    ) -> Answer:
        self.asked.append((method, path, query, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def api(self) -> LiveKubeApi:
        return self.patient(1.5)

    def patient(self, patience_s: float) -> LiveKubeApi:
        """One whose time goes by in its pauses only."""
        return LiveKubeApi(self, patience_s=patience_s, sleep=self.slept.append, now_s=lambda: sum(self.slept))


def ok(body: Any) -> Answer:
    return Answer(200, body)


def refused(status: int, message: str = "because") -> Answer:
    return Answer(status, {"kind": "Status", "code": status, "message": message})


def silent() -> Unreachable:
    return Unreachable("cannot GET", "no answer", "check")


@pytest.mark.parametrize("trouble", [refused(503), refused(429), refused(500), silent()])
def test_a_read_is_tried_again_with_growing_pauses(trouble: Answer | Exception) -> None:
    server = Scripted(trouble, trouble, ok(cart()))
    assert server.api.get(CART)["metadata"]["name"] == "cart"
    assert server.slept == [BACKOFF_S, 2 * BACKOFF_S]


@pytest.mark.parametrize(("trouble", "error"), [(refused(503), ApiError), (silent(), Unreachable)])
def test_a_read_gives_up_in_the_end(trouble: Answer | Exception, error: type[ApiError]) -> None:
    server = Scripted(*[trouble] * 4)
    with pytest.raises(error):
        server.api.get(CART)
    assert not server.answers


def test_the_patient_ask_for_as_long_as_they_say() -> None:
    server = Scripted(*[silent()] * 30, ok(cart()))
    api = server.patient(60.0)
    assert api.get(CART)["metadata"]["name"] == "cart"
    server.answers = [silent()] * 100
    server.slept.clear()
    with pytest.raises(Unreachable):
        api.get(CART)
    assert 57.0 < sum(server.slept) <= 60.0


def test_a_server_that_hangs_spends_their_patience_too() -> None:
    server, asked_s = Scripted(*[silent()] * 9), iter(range(0, 900, 30))
    with pytest.raises(Unreachable):
        LiveKubeApi(server, patience_s=60.0, sleep=server.slept.append, now_s=lambda: float(next(asked_s))).get(CART)
    assert len(server.asked) == 2


def test_a_watch_that_is_cut_short_tells_what_came_and_one_that_fails_is_begun_anew() -> None:
    lines = json.dumps({"type": "MODIFIED", "object": cart(8)}) + '\n{"type": "MODI'
    told = list(Scripted(silent(), refused(503), ok(lines)).api.watch("Deployment", since_version="7"))
    assert told == [("MODIFIED", cart(8))]


POD = ObjectRef(kind="Pod", name="p", namespace="shop")


@pytest.mark.parametrize("trouble", [refused(503), refused(500), silent()])
def test_what_names_no_version_is_sent_once(trouble: Answer | Exception) -> None:
    """Nobody can tell whether one that was not answered was made."""
    for write in (lambda api: api.delete(POD), lambda api: api.evict(POD), lambda api: api.create(cart())):
        server = Scripted(trouble)
        with pytest.raises(ApiError):
            write(server.api)
        assert len(server.asked) == 1


def test_what_a_busy_server_did_not_begin_is_sent_again_but_no_eviction() -> None:
    server = Scripted(refused(429), ok({"kind": "Status"}))
    server.api.delete(POD)
    assert len(server.asked) == 2
    with pytest.raises(TooManyRequests):
        Scripted(refused(429)).api.evict(POD)


@pytest.mark.parametrize("trouble", [refused(503), refused(500, "etcdserver: leader changed"), refused(429), silent()])
def test_a_patch_is_sent_again_with_the_same_version(trouble: Answer | Exception) -> None:
    server = Scripted(ok(cart(7)), trouble, ok(cart(8, replicas=4)))
    assert server.api.patch(CART, {REPLICAS: 4}, resource_version="7")["spec"]["replicas"] == 4
    sent = [(query, body) for method, _, query, body in server.asked if method == "PATCH"]
    assert sent[0] == sent[1]


def test_a_patch_that_was_made_unseen_is_known_by_what_is_there() -> None:
    there = cart(8, replicas=4)
    server = Scripted(ok(cart(7)), silent(), refused(409), ok(there), ok(there), ok(there))
    assert server.api.patch(CART, {REPLICAS: 4}, resource_version="7") == there
    assert server.asked[-1][2]["dryRun"] == "All"


@pytest.mark.parametrize("version", ["7", None])
def test_what_may_have_been_made_and_taken_back_is_not_made_again(version: str | None) -> None:
    """Somebody has written since: the same as before, or another thing."""
    for theirs in (cart(9, generation=3), cart(9, generation=2, replicas=9)):
        server = Scripted(ok(cart(7)), silent(), refused(409), ok(theirs), ok(theirs), ok(cart(9, replicas=4)))
        with pytest.raises(Overtaken):
            server.api.patch(CART, {REPLICAS: 4}, resource_version=version)
        assert not server.answers


def test_what_was_not_made_for_a_controllers_note_is_worked_out_anew() -> None:
    noted, made = cart(8), cart(9, generation=2, replicas=4)
    server = Scripted(ok(cart(7)), silent(), refused(409), ok(noted), ok(noted), ok(made), ok(noted), ok(made))
    assert server.api.patch(CART, {REPLICAS: 4}) == made


def test_a_kind_without_a_generation_bears_the_times_of_its_writes() -> None:
    def scaler(version: int, *, user_s: int, status_s: int) -> dict[str, Any]:
        written = [
            {"manager": "user", "time": f"10:00:{user_s:02}"},
            {"manager": "controller", "subresource": "status", "time": f"10:00:{status_s:02}"},
        ]
        metadata = {"name": "cart", "resourceVersion": str(version), "managedFields": written}
        return {"metadata": metadata, "spec": {"minReplicas": 2}}

    def answers(now: dict[str, Any]) -> list[Answer | Exception]:
        after = {**now, "spec": {"minReplicas": 1}}
        return [ok(scaler(7, user_s=1, status_s=1)), silent(), refused(409), ok(now), ok(now), ok(after)]

    ref = ObjectRef(kind="HorizontalPodAutoscaler", name="cart", namespace="shop")
    fields = {("spec", "minReplicas"): 1}
    with pytest.raises(Overtaken):
        Scripted(*answers(scaler(9, user_s=5, status_s=1))).api.patch(ref, fields, resource_version="7")
    with pytest.raises(Conflict) as caught:
        Scripted(*answers(scaler(9, user_s=1, status_s=5))).api.patch(ref, fields, resource_version="7")
    assert not isinstance(caught.value, Overtaken)


def test_a_webhook_that_fails_is_an_answer() -> None:
    server = Scripted(ok(cart(7)), refused(500, 'Internal error occurred: failed calling webhook "x"'))
    with pytest.raises(ApiError, match="failed calling webhook"):
        server.api.patch(CART, {REPLICAS: 4})


def test_all_requests_of_a_patch_share_one_patience() -> None:
    server = Scripted(*[silent()] * 6, ok(cart(7)), *[silent()] * 100)
    with pytest.raises(Unreachable):
        server.patient(10.0).patch(CART, {REPLICAS: 4})
    assert sum(server.slept) <= 10.0


def test_a_conflict_of_a_patch_that_was_answered_is_somebody_elses() -> None:
    """Even if they wrote the same: who named a version decides anew."""
    with pytest.raises(Conflict):
        Scripted(ok(cart(7)), refused(409)).api.patch(CART, {REPLICAS: 3}, resource_version="7")


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Unprocessable), (401, Forbidden), (403, Forbidden), (404, NotFound), (409, Conflict), (422, Unprocessable),
     (429, TooManyRequests), (418, ApiError), (507, ApiError)],
)  # fmt: skip
def test_a_refusal_is_one_of_ours_with_the_servers_words(status: int, error: type[ApiError]) -> None:
    with pytest.raises(error) as caught:
        Scripted(refused(status, "the budget needs 2")).api.evict(ObjectRef(kind="Pod", name="p", namespace="shop"))
    assert caught.value.why == "the budget needs 2"
    assert caught.value.next_step


def test_a_patch_meets_the_version_that_it_was_worked_out_from() -> None:
    server = Scripted(ok(cart(7)), refused(409), ok(cart(8, replicas=9)), ok(cart(9)))
    server.api.patch(CART, {REPLICAS: 4})
    bodies = [body for method, _, _, body in server.asked if method == "PATCH"]
    assert [body["metadata"]["resourceVersion"] for body in bodies] == ["7", "8"]


def test_a_caller_that_names_a_version_is_told_of_the_conflict_at_once() -> None:
    server = Scripted(ok(cart(8)), refused(409))
    with pytest.raises(Conflict):
        server.api.patch(CART, {REPLICAS: 4}, resource_version="7")
    assert server.asked[-1][3]["metadata"]["resourceVersion"] == "7"


def test_a_conflict_that_never_ends_is_told() -> None:
    server = Scripted(*[ok(cart()), refused(409)] * CONFLICT_TRIES)
    with pytest.raises(Conflict):
        server.api.patch(CART, {REPLICAS: 4})
    assert not server.answers


def sent(fields: Mapping[tuple[str, ...], Any], **spec: Any) -> dict[str, Any]:
    server = Scripted(ok(cart(**spec)), ok(cart()))
    server.api.patch(CART, fields, dry_run=True)
    assert server.asked[-1][2]["dryRun"] == "All"
    assert server.asked[-1][2]["fieldValidation"] == "Strict"
    body: dict[str, Any] = server.asked[-1][3]
    return body


def test_only_what_is_named_is_sent_and_lists_are_whole() -> None:
    assert sent({REPLICAS: 4}) == {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 4}}
    body = sent({container_path("cart", "image"): "cart:v2"})
    sidecar, mine = body["spec"]["template"]["spec"]["containers"]
    assert sidecar == {"name": "sidecar", "image": "s:v1"}
    assert mine == {"name": "cart", "image": "cart:v2", "env": [{"name": "A", "value": "1"}]}


def test_none_takes_a_field_away() -> None:
    assert sent({("spec", "paused"): None}, paused=True)["spec"] == {"paused": None}
    body = sent({container_path("cart", "env", "[name=A]", "value"): None})
    assert body["spec"]["template"]["spec"]["containers"][1]["env"] == []


def test_a_variable_that_is_not_there_is_added_and_a_container_is_not() -> None:
    body = sent({container_path("cart", "env", "[name=B]", "value"): "2"})
    assert body["spec"]["template"]["spec"]["containers"][1]["env"][-1] == {"name": "B", "value": "2"}
    with pytest.raises(Unprocessable, match="no entry with name nobody"):
        Scripted(ok(cart())).api.patch(CART, {container_path("nobody", "image"): "x"})


def test_a_list_comes_in_pages_and_begins_again_when_it_grew_too_old() -> None:
    def page(name: str, following: str) -> Answer:
        meta = {"resourceVersion": "9", "continue": following}
        return ok({"metadata": meta, "items": [{"metadata": {"name": name, "namespace": "shop"}}]})

    server = Scripted(page("b", "t1"), refused(410), page("b", "t2"), page("a", ""))
    found = server.api.list_objects("Deployment", "shop", {"app": "x", "tier": "y"})
    assert [(o["kind"], o["metadata"]["name"]) for o in found] == [("Deployment", "a"), ("Deployment", "b")]
    assert [query.get("continue") for _, _, query, _ in server.asked] == [None, "t1", None, "t2"]
    assert server.asked[0][2]["labelSelector"] == "app=x,tier=y"


@pytest.mark.parametrize(
    "forgotten",
    [refused(410), ok({"type": "ERROR", "object": {"code": 410, "message": "too old"}})],
)
def test_a_watch_whose_version_is_forgotten_tells_everything(forgotten: Answer) -> None:
    everything = ok({"metadata": {"resourceVersion": "9"}, "items": [cart()]})
    events = list(Scripted(forgotten, everything).api.watch("Deployment", since_version="1"))
    assert [(what, obj["metadata"]["name"]) for what, obj in events] == [("MODIFIED", "cart")]


def test_a_watch_tells_its_events_in_order_and_an_error_among_them() -> None:
    lines = [{"type": "ADDED", "object": cart(8)}, {"type": "DELETED", "object": cart(9)}]
    text = "\n".join(json.dumps(line) for line in lines)
    events = list(Scripted(ok(text)).api.watch("Deployment", since_version="7"))
    assert [(what, obj["metadata"]["resourceVersion"]) for what, obj in events] == [("ADDED", "8"), ("DELETED", "9")]
    broken = f"{text}\n{json.dumps({'type': 'ERROR', 'object': {'code': 403, 'message': 'no more'}})}"
    with pytest.raises(Forbidden, match="no more"):
        list(Scripted(ok(broken)).api.watch("Deployment", since_version="7"))


def test_a_kind_that_nobody_knows_is_not_found_without_asking() -> None:
    with pytest.raises(NotFound):
        Scripted().api.list_objects("Nonsense")


parts = st.sampled_from(
    ["spec", "replicas", "template", "containers", "[name=cart]", "[0]", "env", "[name=A]", "x", "[9]"]
)


@given(st.lists(parts, min_size=1, max_size=7).map(tuple), st.one_of(st.none(), st.integers(), st.text(max_size=3)))
def test_whatever_the_path_a_patch_is_sent_or_refused_whole(path: tuple[str, ...], value: Any) -> None:
    server = Scripted(ok(cart()), ok(cart()))
    try:
        server.api.patch(CART, {path: value})
    except Unprocessable:
        assert [method for method, *_ in server.asked] == ["GET"]
