// What the readers of configuration in programs/ share.
module hallmark.dev/conformance/reading

go 1.25.8
