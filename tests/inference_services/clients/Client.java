// The JDK's clients with their default settings against the address of a model; ends with 0 where each got what it should.

import java.io.*;
import java.net.*;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.zip.*;

class Client {
    static final HttpClient CLIENT = HttpClient.newHttpClient(); // offers HTTP/2 by Upgrade

    public static void main(String[] args) throws Exception {
        String infer = args[0] + "/v2/models/orders/infer";
        byte[] small = Files.readAllBytes(Path.of(args[1])), large = Files.readAllBytes(Path.of(args[2]));
        for (int i = 0; i < 20; i++) {
            check(200, "\"score\"", post(infer, BodyPublishers.ofByteArray(small)).build());
        }
        check(200, "\"score\"", post(infer, BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(small))).build()); // in chunks
        check(200, "\"score\"", post(infer, BodyPublishers.ofByteArray(small)).expectContinue(true).build());
        check(200, "\"score\"", post(infer, BodyPublishers.ofByteArray(gzip(small))).header("Content-Encoding", "gzip").build());
        check(404, "no such path", post(infer + "/", BodyPublishers.ofByteArray(small)).build());
        check(400, "error", post(infer, BodyPublishers.ofString("{}")).build());
        HttpResponse<String> wrong = check(405, "expected POST", request(infer).build());
        require(wrong.headers().firstValue("allow").orElse("").equals("POST"), "no Allow");
        check(200, "", request(args[0] + "/v2/models/orders").method("HEAD", BodyPublishers.noBody()).build());
        HttpRequest packed = post(infer, BodyPublishers.ofByteArray(large)).header("Accept-Encoding", "gzip").build();
        HttpResponse<InputStream> answer = CLIENT.send(packed, BodyHandlers.ofInputStream());
        require(answer.headers().firstValue("content-encoding").orElse("").equals("gzip"), "not compressed");
        require(new String(new GZIPInputStream(answer.body()).readAllBytes(), StandardCharsets.UTF_8).contains("\"score\""), "not whole");
        for (int i = 0; i < 5; i++) {
            old(infer, small, i % 2 == 0);
        }
        System.out.println("fine");
    }

    /** HttpURLConnection, which keeps its connections, with a length or in chunks. */
    static void old(String url, byte[] body, boolean chunked) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setDoOutput(true);
        connection.setRequestProperty("Content-Type", "application/json");
        if (chunked) {
            connection.setChunkedStreamingMode(100);
        }
        try (OutputStream out = connection.getOutputStream()) {
            out.write(body);
        }
        require(connection.getResponseCode() == 200, "old: " + connection.getResponseCode());
        try (InputStream in = connection.getInputStream()) {
            require(new String(in.readAllBytes(), StandardCharsets.UTF_8).contains("\"score\""), "old: another body");
        }
    }

    static HttpRequest.Builder request(String url) {
        return HttpRequest.newBuilder(URI.create(url));
    }

    static HttpRequest.Builder post(String url, HttpRequest.BodyPublisher body) {
        return request(url).header("Content-Type", "application/json").POST(body);
    }

    static HttpResponse<String> check(int status, String words, HttpRequest request) throws Exception {
        HttpResponse<String> answer = CLIENT.send(request, BodyHandlers.ofString());
        require(answer.statusCode() == status && answer.body().contains(words), request + ": " + answer + " " + answer.body());
        return answer;
    }

    static byte[] gzip(byte[] plain) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (GZIPOutputStream packer = new GZIPOutputStream(out)) {
            packer.write(plain);
        }
        return out.toByteArray();
    }

    static void require(boolean kept, String words) {
        if (!kept) {
            throw new AssertionError(words);
        }
    }
}
