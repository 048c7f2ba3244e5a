"""Records of Argilla with an answered ranking question -> rankings.

Two shapes are taken, both with `fields` and `responses`, one record a row:

* what `dataset.records.to_json` of the Argilla 2.x SDK writes (`Record.to_dict`): `responses` is an object from the
  question to the answers of all users, `{"preference": [{"value": ["reply-2", "reply-1"], "user_id": "..."}]}`; the
  value names fields, best first, without ties;
* what its server and the 1.x SDK say: `responses` is a list of one object a user, `{"values": {"preference": {"value":
  [{"value": "reply-2", "rank": 1}, {"value": "reply-1", "rank": 1}]}}, "user_id": "...", "status": "submitted"}`.

The values of the RankingQuestion are the names of the fields that hold the answers, all of them ranked by somebody, as
Argilla's page wants before it lets one submit. One more field, of any name, is the prompt (a text or
a chat field), and `system` may stand beside it. Questions that rank no fields are not read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmtrain.data.validate import BadRow, field, shown

STATUS = "submitted"  # the others are draft and discarded


@dataclass(frozen=True)
class Answered:
    """What one user said to one question."""

    question: str
    value: object
    user: str
    status: str


def recognised(row: Mapping) -> bool:
    return {"fields", "responses"} <= row.keys()


def rankings(row: Mapping) -> list[dict[str, Any]]:
    """A row of our K-way format (prompt, responses, ranks, annotator) for each user who submitted a ranking."""
    fields = field(row, "fields")
    if not isinstance(fields, Mapping):
        raise BadRow("'fields' is not an object", shown(fields, 60))
    found = [(said, places) for said in _answered(row) if (places := _places(said.value, fields))]
    questions = sorted({said.question for said, _ in found})
    if len(questions) > 1:
        raise BadRow("several questions rank the answers", f"{', '.join(questions)}; leave one in the file")
    ranked = {name for _, places in found for name in places}
    return [
        {
            **_asked(fields, ranked),
            "responses": [fields[name] for name in places],
            "ranks": list(places.values()),
            "annotator": said.user,
        }
        for said, places in found
        if said.status == STATUS
    ]


def _answered(row: Mapping) -> Iterator[Answered]:
    responses = row["responses"]
    if isinstance(responses, Mapping):
        for question, given in responses.items():
            for one in _objects(given, f"responses.{question}"):
                yield Answered(question, one.get("value"), str(one.get("user_id") or ""), one.get("status") or STATUS)
        return
    for one in _objects(responses, "responses"):
        values = field(one, "values")
        if not isinstance(values, Mapping):
            raise BadRow("'responses.values' is not an object", shown(values, 60))
        for question, given in values.items():
            value = given.get("value") if isinstance(given, Mapping) else given
            yield Answered(question, value, str(one.get("user_id") or ""), one.get("status") or STATUS)


def _objects(given: object, name: str) -> list[Mapping]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise BadRow(f"'{name}' is not a list of objects", shown(given, 60))
    return given


def _places(value: object, fields: Mapping) -> dict[str, Any] | None:
    """Field -> rank; None where `value` answers another kind of question."""
    if not isinstance(value, list) or not value:
        return None
    pairs = [(one.get("value"), one.get("rank")) if isinstance(one, Mapping) else (one, None) for one in value]
    places: dict[str, Any] = {}
    for place, (name, rank) in enumerate(pairs, 1):
        if not isinstance(name, str) or name not in fields:
            return None
        if name in places:
            raise BadRow("an answer is ranked twice", shown(name, 60))
        places[name] = place if rank is None else rank
    return places


def _asked(fields: Mapping, ranked: set[str]) -> dict[str, Any]:
    """The prompt, and the system message where there is one."""
    rest = [name for name, value in fields.items() if name not in ranked and value is not None]
    prompts = [name for name in rest if name != "system"]
    if len(prompts) != 1:
        raise BadRow(
            "beside the ranked fields there must be one more, the prompt (and 'system', if any)",
            f"there are {', '.join(prompts) or 'none'}",
        )
    return {"prompt": fields[prompts[0]]} | ({"system": fields["system"]} if "system" in rest else {})
