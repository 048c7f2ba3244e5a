"""A word that a configuration may choose has an entry where it is used, and the other way round."""

from enum import Enum

import pytest

from llmtrain.config.choices import AdvantageName, DPOLoss, ScheduleName
from llmtrain.loop.schedule import SCHEDULES
from llmtrain.objectives.advantages import ADVANTAGES
from llmtrain.objectives.dpo import LOSSES


@pytest.mark.parametrize(
    ("names", "table"), [(ScheduleName, SCHEDULES), (AdvantageName, ADVANTAGES), (DPOLoss, LOSSES)]
)
def test_every_word_has_its_function(names: type[Enum], table):
    assert {member.value for member in names} == set(table)
