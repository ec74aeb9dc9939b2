// What `npm run lock` does last: npm writes where to send money into the lock, and the lock holds no addresses.
import { readFileSync, writeFileSync } from "node:fs";

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
for (const found of Object.values(lock.packages)) delete found.funding;
writeFileSync("package-lock.json", `${JSON.stringify(lock, null, 2)}\n`);
