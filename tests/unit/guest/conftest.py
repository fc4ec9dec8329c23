"""Import Luigi once, before the tests: it warns about a default that the guest pins."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import luigi  # noqa: F401 - for its side effect
