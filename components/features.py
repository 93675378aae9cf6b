"""The component of feature views."""

from components.factory import component
from hallmark.training import feature_steps

materialize = component(feature_steps.materialize)
