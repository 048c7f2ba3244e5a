"""A word that a configuration may choose has an entry where it is used, and the other way round."""

from enum import Enum

import pytest

from llmtrain.config.choices import AdvantageName, DPOLoss, RuleName, ScheduleName
from llmtrain.loop.schedule import SCHEDULES
from llmtrain.objectives.advantages import ADVANTAGES
from llmtrain.objectives.dpo import LOSSES
from llmtrain.rollout.rules import RULES


@pytest.mark.parametrize(
    ("names", "table"), [(ScheduleName, SCHEDULES), (AdvantageName, ADVANTAGES), (DPOLoss, LOSSES), (RuleName, RULES)]
)
def test_every_word_has_its_function(names: type[Enum], table):
    assert {member.value for member in names} == set(table)
