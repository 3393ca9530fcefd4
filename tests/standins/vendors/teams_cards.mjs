// Microsoft's own reader of adaptive cards (npm: adaptivecards) behind a pipe: each line on stdin is a card, and is answered with a line
// {"problems": [what, …]}.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.MILLSTREAM_STANDINS}/package.json`);
const { AdaptiveCard, SerializationContext, Versions } = require("adaptivecards/dist/adaptivecards.js");

console.log("{}");
for await (const line of createInterface({ input: process.stdin })) {
  const card = new AdaptiveCard();
  const context = new SerializationContext(Versions.v1_5);
  card.parse(JSON.parse(line), context);
  const problems = card.validateProperties().validationEvents.map((event) => event.message);
  for (let index = 0; index < context.eventCount; index++) problems.push(context.getEventAt(index).message);
  console.log(JSON.stringify({ problems }));
}
