"""A fuzzer: mutated archives and images, and the checks that every layer of the package has to pass.

    PYTHONPATH=workflow/scripts:tests:tests/badinput .venv/bin/python -m fuzz --seconds 900 --seed 1 --save failures

tries inputs for 15 minutes and ends with status 1 if any of them fails; `__main__` has the other options.

An input is a well-formed seed (`seeds`) after some edits (`mutations`). Each layer has a module with its check:
`archive` (the ZIP reader), `image` (the decoders) and `job` (the whole crop job). `badinput/test_fuzz.py` runs the same
checks on a fixed set of inputs that Hypothesis draws.
"""
