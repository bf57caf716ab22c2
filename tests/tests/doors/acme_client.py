"""The public ACME client library against our server: account and order in one run, attestation, finalise and certificate in
the next. Reads what to do as JSON from standard input, writes what came of it as JSON."""

import base64
import json
import sys

import josepy
from acme import client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

asked = json.load(sys.stdin)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Plain(josepy.JSONDeSerializable):
    """A payload that the library has no class for."""

    def __init__(self, value):
        self.value = value

    def to_partial_json(self):
        return self.value

    @classmethod
    def from_json(cls, jobj):
        return cls(jobj)


def network(key, account=None):
    # The server of the test has a certificate of its own making.
    return client.ClientNetwork(key, account=account, alg=josepy.ES256, verify_ssl=False, user_agent="public")


if "resume" in asked:
    pem = asked["resume"]["account_key"].encode()
    private = serialization.load_pem_private_key(pem, None)
else:
    private = ec.generate_private_key(ec.SECP256R1())
key = josepy.JWKEC(key=private)
net = network(key)
directory = client.ClientV2.get_directory(asked["directory"], net)
acme = client.ClientV2(directory, net)
if "resume" in asked:
    # The library finds its account again by the key.
    try:
        account = acme.new_account(messages.NewRegistration(only_return_existing=True))
    except errors.ConflictError as known:
        account = messages.RegistrationResource(uri=known.location, body=messages.Registration())
        net.account = account
else:
    account = acme.new_account(messages.NewRegistration())

if "resume" not in asked:
    order = acme._post(
        directory["newOrder"],
        Plain({"identifiers": [{"type": "permanent-identifier", "value": asked["identifier"]}]}),
    )
    body = order.json()
    authorization = acme._post_as_get(body["authorizations"][0]).json()
    challenge = [c for c in authorization["challenges"] if c["type"] == "device-attest-01"][0]
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    json.dump(
        {
            "token": challenge["token"],
            "challenge": challenge["url"],
            "order": order.headers["Location"],
            "finalize": body["finalize"],
            "account_key": pem.decode(),
        },
        sys.stdout,
    )
    sys.exit(0)

begun = asked["resume"]
met = acme._post(begun["challenge"], Plain({"attObj": asked["statement"]})).json()
assert met["status"] == "valid", met
device = serialization.load_pem_private_key(asked["key"].encode(), None)
csr = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(device, hashes.SHA384())
    .public_bytes(serialization.Encoding.DER)
)
done = acme._post(begun["finalize"], Plain({"csr": b64(csr)})).json()
assert done["status"] == "valid", done
polled = acme._post_as_get(begun["order"]).json()
assert polled["status"] == "valid", polled
certificate = acme._post_as_get(done["certificate"]).text

# A nonce of the past: the library's own message, sent twice.
nonce = net._get_nonce(begun["order"], directory["newNonce"])
message = net._wrap_in_jws(None, nonce, begun["order"])
first = net._send_request("POST", begun["order"], data=message, headers={"Content-Type": "application/jose+json"})
assert first.status_code == 200, first.text
second = net._send_request("POST", begun["order"], data=message, headers={"Content-Type": "application/jose+json"})
kind = second.json()["type"].rsplit(":", 1)[1]
json.dump({"certificate": certificate, "replayed": kind}, sys.stdout)
