// What a script of the tests is given, and how it answers: JSON in the first argument, one line of JSON on stdout.

/** What the test gives to the script. */
export const given = JSON.parse(process.argv[2] ?? "{}");

/** Ends the script's work with its results. */
export function tell(results) {
  process.stdout.write(JSON.stringify(results) + "\n");
}
