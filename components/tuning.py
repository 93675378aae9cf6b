"""The components of a search for better options."""

from components.factory import component
from hallmark.training import tuning_steps

judge_declared = component(tuning_steps.judge_declared)
propose = component(tuning_steps.propose)
try_options = component(tuning_steps.try_options)
choose = component(tuning_steps.choose)
