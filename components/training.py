"""The components of every domain's training, one a step."""

from components.factory import component
from hallmark.training import steps

load = component(steps.load)
validate = component(steps.validate)
split = component(steps.split)
train = component(steps.train)
quantize = component(steps.quantize)
load_corpus = component(steps.load_corpus)
embed = component(steps.embed)
build_index = component(steps.build_index)
measure_recall = component(steps.measure_recall)
evaluate = component(steps.evaluate)
calibrate = component(steps.calibrate)
compare = component(steps.compare)
gate = component(steps.gate)
export = component(steps.export)
register = component(steps.register)
log = component(steps.log)
