// Discord's own schemas (npm: discord-api-spec, made from its OpenAPI document) behind a pipe: each line {"schema", "value"} on stdin is
// answered with a line {"problems": [[path, what], …]}. Discord passes over fields that it does not know; here they are problems.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const parts = process.env.MILLSTREAM_STANDINS;
const schemas = await import(pathToFileURL(`${parts}/node_modules/discord-api-spec/build/discord-api-spec.zod.js`));

// What the schema has left out of the value, since it does not name it.
function unknown(value, read, at) {
  if (Array.isArray(value)) return value.flatMap((one, index) => unknown(one, read?.[index], `${at}[${index}]`));
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([name, one]) => {
    const path = at ? `${at}.${name}` : name;
    return read !== undefined && name in read ? unknown(one, read[name], path) : [[path, "is not known"]];
  });
}

console.log("{}");
for await (const line of createInterface({ input: process.stdin })) {
  const { schema, value } = JSON.parse(line);
  const read = schemas[schema].safeParse(value);
  const problems = read.success
    ? unknown(value, read.data, "")
    : read.error.issues.map((issue) => [issue.path.join("."), issue.message]);
  console.log(JSON.stringify({ problems }));
}
