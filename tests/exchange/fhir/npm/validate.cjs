// Validates resources of FHIR R4 from stdin with the npm package fhir, offline: a JSON list in, a list of lists of errors
// out. Codes of systems that it does not hold are warnings, which are not told.
// Usage: node validate.cjs FOLDER_WITH_node_modules < resources.json
const { createRequire } = require('node:module');
const { resolve } = require('node:path');
const { readFileSync } = require('node:fs');
const { Fhir } = createRequire(resolve(process.argv[2], 'package.json'))('fhir');

const fhir = new Fhir();
const found = JSON.parse(readFileSync(0, 'utf8')).map((resource) => {
  const { messages } = fhir.validate(resource, { errorOnUnexpected: true });
  return messages.filter((one) => one.severity === 'error').map((one) => `${one.location}: ${one.message}`);
});
console.log(JSON.stringify(found));
