import hashlib, hmac, json, secrets, time
from urllib.parse import urlsplit
from urllib.request import Request, urlopen


def sign(host, secret, body):
    now, nonce = int(time.time()), secrets.token_hex(16)
    text = f"v2\nPOST\n{host}\n/__strata/purge\n{now}\n{nonce}\n{body}"
    mac = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"v=2,t={now},n={nonce},s={mac}"


def purge(site, secret, scopes, mode="remove", wait=0.25):
    body = json.dumps({"v": 1, "records": [{"scope": scope, "mode": mode} for scope in scopes]})
    signature = sign(urlsplit(site).netloc, secret, body)
    headers = {"Strata-Signature": signature, "User-Agent": "strata-purge"}
    try:
        request = Request(f"{site}/__strata/purge", body.encode(), headers)
        json.load(urlopen(request, timeout=10))["accepted"]
    except OSError as error:  # HTTPError is one, too
        if wait > 8 or getattr(error, "code", 503) < 500 and error.code != 429:
            raise
        time.sleep(wait)
        purge(site, secret, scopes, mode, 2 * wait)
