"""Step 1, authenticate: a credential becomes a ``Principal``, or nothing does.

``verifier`` holds the procedure in numbered steps. ``issuers`` is the table of who is believed and
what their tokens mean; ``keys`` and ``jwks`` are where their public keys come from; ``principals``
says who the verified claims speak of; ``replay`` remembers tokens that count once; ``development``
signs tokens for a machine without an identity provider.
"""
